/** Which addresses an origin may have: a URL of a user must not reach what only this cluster can. */
import { BlockList, isIP } from 'node:net';

export type AddressVerdict = 'allowed' | 'private' | 'forbidden';

/** DNS64 gives IPv4 hosts such addresses: what is behind them counts (RFC 6052). */
const NAT64 = '64:ff9b::';
const NAT64_BITS = 96;

/** Never asked, whatever an Origin allows: this host, this link, cloud metadata, multicast. */
const FORBIDDEN = listOf(
  ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'],
  // With the old forms that carry an IPv4 address: IPv4-compatible, 6to4.
  ['::/96', '2002::/16', 'fe80::/10', 'ff00::/8'],
);
/** Asked only where an Origin allows it: pods, Services, the network of the company. */
const PRIVATE = listOf(
  ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'],
  ['fc00::/7', '64:ff9b:1::/48'],
);

export function judgeAddress(address: string): AddressVerdict {
  const version = isIP(address);
  // With a zone it is of one link.
  if (version === 0 || address.includes('%')) return 'forbidden';
  // IPv4-mapped addresses are compared with the IPv4 ranges.
  const family = version === 6 ? 'ipv6' : 'ipv4';
  if (FORBIDDEN.check(address, family)) return 'forbidden';
  return PRIVATE.check(address, family) ? 'private' : 'allowed';
}

function listOf(ipv4: readonly string[], ipv6: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ipv4) {
    const [network, bits] = split(range);
    list.addSubnet(network, bits, 'ipv4');
    list.addSubnet(`${NAT64}${network}`, NAT64_BITS + bits, 'ipv6');
  }
  for (const range of ipv6) list.addSubnet(...split(range), 'ipv6');
  return list;
}

function split(range: string): [network: string, bits: number] {
  const [network = '', bits = ''] = range.split('/');
  return [network, Number(bits)];
}
