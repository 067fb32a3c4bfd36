/** Which Origin a URL is under. PURE. */
import type { OriginPolicy } from '../controllers/dataSide.ts';

/** Host and port: what connections are counted by. */
export function hostOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  return `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`;
}

/** An Origin that names the port comes before one that names the host alone. */
export function coveringPolicy(
  url: string,
  policies: readonly OriginPolicy[],
): OriginPolicy | undefined {
  for (const name of [hostOf(url), new URL(url).hostname]) {
    const found = policies.find(({ hosts }) => hosts.includes(name));
    if (found !== undefined) return found;
  }
  return undefined;
}
