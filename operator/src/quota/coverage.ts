/** Which Origin a URL is under. PURE. */
import type { OriginPolicy } from '../controllers/dataSide.ts';

/** Host and port: what is counted by. */
export function hostOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  // A name with the root's dot is the same host.
  return `${hostname.replace(/\.$/, '')}:${port || (protocol === 'https:' ? '443' : '80')}`;
}

/** An Origin that names the port comes before one that names the host alone. */
export function coveringPolicy(
  url: string,
  policies: readonly OriginPolicy[],
): OriginPolicy | undefined {
  return policyOfHost(hostOf(url), policies);
}

/** The same for a host with its port. */
export function policyOfHost(
  host: string,
  policies: readonly OriginPolicy[],
): OriginPolicy | undefined {
  for (const name of [host, host.replace(/:\d+$/, '')]) {
    const found = policies.find(({ hosts }) => hosts.includes(name));
    if (found !== undefined) return found;
  }
  return undefined;
}
