/** Link rates as people write them. */

const UNITS = { kbit: 1e3, mbit: 1e6, gbit: 1e9 } as const;

/** `100mbit` and the like, in bits per second. */
export function parseBitsPerSecond(text: string): number {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)(kbit|mbit|gbit)$/.exec(text) ?? [];
  const rate = Number(digits) * UNITS[unit as keyof typeof UNITS];
  if (rate > 0) return rate;
  throw new Error(`${text} is not a rate: write a positive number with a unit, such as 100mbit`);
}
