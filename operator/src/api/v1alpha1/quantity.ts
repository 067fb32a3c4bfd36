/**
 * Kubernetes quantities and durations as users write them, parsed once into bytes and seconds.
 *
 * The CRDs' rules admit the same forms (see `fields.ts`), so a value read from the API server
 * always parses; `undefined` says that it is none.
 */

/** Suffixes that make sense for bytes; `m`, `u` and `n` (parts of one byte) do not. */
const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/** Bytes per second that anybody may name at most. */
export const MAX_RATE = '1Pi';

/** Without anchors, so that CEL and JavaScript use the same text. */
export const QUANTITY_PATTERN = '[0-9]+([.][0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?';
const QUANTITY = new RegExp(`^${QUANTITY_PATTERN}$`);

/** Hours, minutes, seconds: `720h`, `1h30m`, `120s`. */
export const DURATION_PATTERN = '([0-9]{1,6}h)?([0-9]{1,8}m)?([0-9]{1,9}s)?';
const DURATION = new RegExp(`^(?=.)${DURATION_PATTERN}$`);

/** Whole bytes, rounded down; undefined when it is no quantity or cannot be counted exactly. */
export function parseBytes(quantity: string | number): number | undefined {
  const match = QUANTITY.exec(String(quantity));
  if (match === null) return undefined;
  const suffix = match[2] ?? '';
  const number = String(quantity).slice(0, String(quantity).length - suffix.length);
  const bytes = Math.floor(Number(number) * FACTORS[suffix]!);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

export function parseDurationSeconds(duration: string): number | undefined {
  const match = DURATION.exec(duration);
  if (match === null) return undefined;
  const [hours, minutes, seconds] = [match[1], match[2], match[3]].map((part) =>
    part === undefined ? 0 : Number(part.slice(0, -1)),
  );
  return hours! * 3600 + minutes! * 60 + seconds!;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** For people: `0 B`, `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || value >= 100 ? value.toFixed(0) : trimZero(value.toFixed(1));
  return `${text} ${UNITS[unit]!}`;
}

/** For people: `45s`, `3m12s`, `2h5m`, `4d3h`. */
export function formatSeconds(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  if (total < 60) return `${total}s`;
  if (total < 3600) return join(Math.floor(total / 60), 'm', total % 60, 's');
  if (total < 86_400)
    return join(Math.floor(total / 3600), 'h', Math.floor((total % 3600) / 60), 'm');
  return join(Math.floor(total / 86_400), 'd', Math.floor((total % 86_400) / 3600), 'h');
}

function join(major: number, majorUnit: string, minor: number, minorUnit: string): string {
  return minor === 0 ? `${major}${majorUnit}` : `${major}${majorUnit}${minor}${minorUnit}`;
}

function trimZero(text: string): string {
  return text.endsWith('.0') ? text.slice(0, -2) : text;
}
