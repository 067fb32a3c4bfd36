/** What part of a node's disk the files of one namespace may take. PURE. */

/** Of the disk's whole size, or bytes. */
export type Share = { readonly percent: number } | { readonly bytes: number };

export interface NamespaceShares {
  /** Of each namespace that is not named. */
  readonly others: Share;
  readonly named: ReadonlyMap<string, Share>;
}

const OTHERS = '*';

/** `*=50%,team-a=30%,team-b=214748364800`; undefined: it is not that. */
export function parseShares(text: string): NamespaceShares | undefined {
  const named = new Map<string, Share>();
  for (const entry of text.split(',')) {
    const [name = '', value = '', ...more] = entry.split('=');
    const share = shareOf(value);
    const isName = name === OTHERS || /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name);
    if (share === undefined || !isName || more.length > 0 || named.has(name)) return undefined;
    named.set(name, share);
  }
  const others = named.get(OTHERS);
  named.delete(OTHERS);
  return others && { others, named };
}

function shareOf(text: string): Share | undefined {
  const [, digits = '', unit] = /^(\d{1,16})(%?)$/.exec(text) ?? [];
  if (digits === '') return undefined;
  const value = Number(digits);
  if (unit === '%') return value <= 100 ? { percent: value } : undefined;
  return Number.isSafeInteger(value) ? { bytes: value } : undefined;
}

/** Infinity: no limit of its own. All of a disk is none, for files that share their bytes count whole. */
export function shareBytes(
  { others, named }: NamespaceShares,
  namespace: string,
  totalBytes: number,
): number {
  const share = named.get(namespace) ?? others;
  if ('bytes' in share) return share.bytes;
  if (share.percent === 100) return Number.POSITIVE_INFINITY;
  return Math.floor((totalBytes * share.percent) / 100);
}
