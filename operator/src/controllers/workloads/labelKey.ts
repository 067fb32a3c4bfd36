/** The key of the label on the nodes that show a distribution's files. */
import { createHash } from 'node:crypto';

/** What Kubernetes allows after the slash. */
const MAX_NAME_CHARACTERS = 63;
const HASH_DIGITS = 8;

/**
 * `<namespace>.dist.sluice.dev/<name>`. A name of more than 63 characters is cut to 54, followed by
 * a dash and the first 8 hex digits of its SHA-256. The part before the slash has at most 79.
 */
export function labelKey({ namespace, name }: { namespace: string; name: string }): string {
  return `${namespace}.dist.sluice.dev/${bounded(name)}`;
}

function bounded(name: string): string {
  if (name.length <= MAX_NAME_CHARACTERS) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, HASH_DIGITS);
  return `${name.slice(0, MAX_NAME_CHARACTERS - HASH_DIGITS - 1)}-${hash}`;
}
