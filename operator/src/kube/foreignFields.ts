/**
 * What others have added to the spec of an object that is applied: fields, items of lists, keys of
 * maps that the applied manifest does not name. Server-side apply leaves them. Who wrote which is
 * read in managedFields (KEP-555): what the API server fills in belongs to nobody, what admission
 * webhooks add to nobody or to whom they answered. So neither is a stranger's. PURE.
 */
import { FIELD_MANAGER } from './apply.ts';

/** `f:<field>`, `k:<keys of an item>`, `v:<value of an item>`, or `.`: the thing itself. */
interface FieldSet {
  readonly [key: string]: FieldSet;
}

interface Entry {
  readonly manager?: string;
  readonly fieldsV1?: FieldSet;
}

interface AnyObject {
  readonly metadata: object;
  readonly spec?: unknown;
}

/** `kubectl rollout restart` is anybody's to say. */
const RESTARTED_AT = 'kubectl.kubernetes.io/restartedAt';

/**
 * JSON pointers (RFC 6901), in an order in which one after the other can be removed: items of a list
 * from its end.
 */
export function foreignFields({ metadata, spec }: AnyObject): string[] {
  const { managedFields } = metadata as { readonly managedFields?: readonly Entry[] };
  const entries = managedFields ?? [];
  const own = entries.filter(({ manager }) => manager === FIELD_MANAGER);
  const ours = own.flatMap(({ fieldsV1 }) => fieldsV1?.['f:spec'] ?? []);
  // Nobody has applied it as we do: what is whose cannot be told.
  if (ours.length === 0) return [];
  const found = entries.flatMap(({ manager, fieldsV1 }) => {
    const theirs = fieldsV1?.['f:spec'];
    if (manager === FIELD_MANAGER || theirs === undefined) return [];
    return pointersIn(theirs, ours, spec, []);
  });
  const paths = [...new Map(found.map((path) => [pointerOf(path), path])).values()];
  return paths.sort(fromTheEnd).map(pointerOf);
}

/**
 * Of those that were removed, by pointer with what is there, what the answer still has of strangers:
 * where the API server fills in what was there before, that is whose it was. So are all defaults of
 * an object whose managedFields were lost: of `before-first-apply`.
 */
export function fieldsThatStay(removed: readonly string[], answer: AnyObject): Map<string, string> {
  const stay = foreignFields(answer).filter((pointer) => removed.includes(pointer));
  return new Map(stay.map((pointer) => [pointer, textAt(answer, pointer)]));
}

/** What is there, as JSON. */
export function textAt(object: AnyObject, pointer: string): string {
  const segments = pointer.split('/').slice(1);
  const names = segments.map((each) => each.replaceAll('~1', '/').replaceAll('~0', '~'));
  const value = names.reduce<unknown>(
    (found, name) => (found as Readonly<Record<string, unknown>>)[name],
    object,
  );
  return JSON.stringify(value);
}

type Path = readonly (string | number)[];

/** Of what none of ours names the whole is theirs. */
function pointersIn(
  theirs: FieldSet,
  ours: readonly FieldSet[],
  live: unknown,
  path: Path,
): Path[] {
  return Object.entries(theirs).flatMap(([key, below]) => {
    const segment = segmentOf(key, live);
    if (segment === undefined) return [];
    const at = [...path, segment];
    const named = ours.flatMap((each) => each[key] ?? []);
    if (named.length === 0 && !isOfTemplate(at)) return segment === RESTARTED_AT ? [] : [at];
    return pointersIn(below, named, (live as Record<string, unknown>)[segment], at);
  });
}

/** There anybody's annotation may be beside a stranger's: each is looked at. */
function isOfTemplate(path: Path): boolean {
  const [template, metadata, map, ...more] = path;
  if (template !== 'template' || metadata !== 'metadata' || more.length > 0) return false;
  return map === undefined || map === 'annotations' || map === 'labels';
}

/** Where it is in the object; undefined: it is not there, or is the thing itself. */
function segmentOf(key: string, live: unknown): string | number | undefined {
  const [kind, rest] = [key.slice(0, 2), key.slice(2)];
  if (kind === 'f:') return isRecord(live) && Object.hasOwn(live, rest) ? rest : undefined;
  if ((kind !== 'k:' && kind !== 'v:') || !Array.isArray(live)) return undefined;
  const wanted: unknown = JSON.parse(rest);
  const index = live.findIndex((item: unknown) =>
    kind === 'v:'
      ? JSON.stringify(item) === JSON.stringify(wanted)
      : isRecord(item) &&
        Object.entries(wanted as object).every(([name, value]) => item[name] === value),
  );
  return index < 0 ? undefined : index;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function pointerOf(path: Path): string {
  const segments = ['spec', ...path].map((each) => `${each}`);
  return segments.map((each) => `/${each.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

/** What is removed moves only what comes behind it. */
function fromTheEnd(a: Path, b: Path): number {
  for (const [at, one] of a.entries()) {
    const other = b[at];
    if (other === undefined) return -1;
    if (one === other) continue;
    if (typeof one === 'number' && typeof other === 'number') return other - one;
    return String(one) < String(other) ? -1 : 1;
  }
  return a.length - b.length;
}
