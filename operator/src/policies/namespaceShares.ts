/** The chart's agent.namespaceShares on their way to the agents, which know no quantities. PURE. */
import { parseBytes } from '../api/v1alpha1/quantity.ts';

/** 4Pi, as other numbers of bytes that users write. */
const MAX_SHARE_BYTES = 2 ** 52;

/** The same with every quantity in bytes: `*=50%,team=214748364800`; undefined: it is not right. */
export function sharesInBytes(text: string): string | undefined {
  const names = new Set<string>();
  const entries: string[] = [];
  for (const entry of text.split(',')) {
    const [, name = '', share = ''] = /^([a-z0-9-]{1,63}|\*)=([^=]+)$/.exec(entry) ?? [];
    const inBytes = shareInBytes(share);
    if (inBytes === undefined || names.has(name)) return undefined;
    names.add(name);
    entries.push(`${name}=${inBytes}`);
  }
  return names.has('*') ? entries.join(',') : undefined;
}

function shareInBytes(share: string): string | undefined {
  if (/^([1-9]?[0-9]|100)%$/.test(share)) return share;
  const bytes = parseBytes(share);
  // A part of a byte would be rounded to nothing, which nobody has meant.
  const isPart = bytes === 0 && /[1-9]/.test(share);
  return bytes === undefined || bytes > MAX_SHARE_BYTES || isPart ? undefined : bytes.toString();
}
