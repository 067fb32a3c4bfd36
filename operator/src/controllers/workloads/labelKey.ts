/** The key of the label on the nodes that show a distribution's files. */
import { createHash } from 'node:crypto';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import type { Reflector } from '../../kube/reflector.ts';
import { DOMAIN } from '../../policies/nodeLabels.ts';

/** What Kubernetes allows after the slash. */
const MAX_NAME_CHARACTERS = 63;
const HASH_DIGITS = 8;

/**
 * `<namespace>.dist.sluice.dev/<name>`. A name of more than 63 characters is cut to 54, followed by
 * a dash and the first 8 hex digits of its SHA-256. The part before the slash has at most 79.
 */
export function labelKey({ namespace, name }: { namespace: string; name: string }): string {
  return `${namespace}${DOMAIN}${bounded(name)}`;
}

/**
 * Whose key it is. Asked for every label of every node: others are looked at only where the name may
 * have been cut.
 */
export function labelledBy(
  key: string,
  distributions: Pick<Reflector<Distribution>, 'get' | 'indexed'>,
): Distribution | undefined {
  const [namespace = '', name = ''] = key.split(DOMAIN);
  const known = distributions.get(`${namespace}/${name}`);
  if (known !== undefined || name.length < MAX_NAME_CHARACTERS) return known;
  for (const other of distributions.indexed(namespace)) {
    if (labelKey(other.metadata) === key) return other;
  }
  return undefined;
}

function bounded(name: string): string {
  if (name.length <= MAX_NAME_CHARACTERS) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, HASH_DIGITS);
  return `${name.slice(0, MAX_NAME_CHARACTERS - HASH_DIGITS - 1)}-${hash}`;
}
