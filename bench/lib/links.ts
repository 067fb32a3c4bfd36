/** Hosts on one bridge, each in a network namespace of its own behind a shaped link. */
import { readFileSync } from 'node:fs';
import { run } from '../../e2e/cluster/run.ts';
import { BRIDGE } from './namespaces.ts';
import { bytesPerSecond, type LinkRates, type Setup } from './setups.ts';

export interface Host {
  readonly name: string;
  readonly kind: 'origin' | 'relay' | 'node';
  readonly address: string;
  readonly link: LinkRates;
}

/** Bytes on the link since it was made, headers included, from the host's side. */
export interface LinkBytes {
  readonly received: number;
  readonly sent: number;
}

export const CONGESTION_CONTROL = 'cubic';
/**
 * The burst holds the largest segment that the kernel makes, 64 KiB with the headers of its packets:
 * a smaller one makes tbf cut each into packets, which takes ten times the processor time.
 */
const QUEUE = 'burst 128k latency 50ms';

export function hostsOf({ origin, relays, nodes }: Setup): Host[] {
  return [
    { name: 'origin', kind: 'origin', address: '10.80.0.3', link: { down: origin, up: origin } },
    ...relays.map(
      (link, at): Host => ({
        name: `relay${at + 1}`,
        kind: 'relay',
        address: `10.80.2.${at + 1}`,
        link,
      }),
    ),
    ...nodes.map(
      (link, at): Host => ({
        name: `node${at + 1}`,
        kind: 'node',
        address: `10.80.1.${at + 1}`,
        link,
      }),
    ),
  ];
}

/** Both directions are shaped: what a host sends at its own end, what it gets at the bridge's. */
export async function makeLinks(hosts: readonly Host[]): Promise<void> {
  const lines = hosts.flatMap(({ name, address, link }) => {
    const outer = outerEnd(name);
    const inside = [
      'ip link set lo up',
      `ip address add ${address}/16 dev eth0`,
      'ip link set eth0 up',
      `sysctl -qw net.ipv4.tcp_congestion_control=${CONGESTION_CONTROL}`,
      `tc qdisc add dev eth0 root tbf ${rate(link.up)}`,
    ];
    return [
      `ip netns add ${name}`,
      `ip link add ${outer} type veth peer name eth0 netns ${name}`,
      `ip link set ${outer} master ${BRIDGE} up`,
      `nsenter --net=/run/netns/${name} sh -ec '${inside.join('\n')}'`,
      `tc qdisc add dev ${outer} root tbf ${rate(link.down)}`,
    ];
  });
  await run('bash', ['-ec', lines.join('\n')]);
}

/** Other rates for a link that is there. */
export async function setLink({ name }: Host, link: LinkRates): Promise<void> {
  const lines = [
    `nsenter --net=/run/netns/${name} tc qdisc change dev eth0 root tbf ${rate(link.up)}`,
    `tc qdisc change dev ${outerEnd(name)} root tbf ${rate(link.down)}`,
  ];
  await run('bash', ['-ec', lines.join('\n')]);
}

export async function removeLinks(hosts: readonly Host[]): Promise<void> {
  await run('bash', ['-ec', hosts.map(({ name }) => `ip netns delete ${name}`).join('\n')]);
  // The kernel removes the veth pair with its namespace, a moment later.
  const gone = hosts.map(({ name }) => `ip link delete ${outerEnd(name)} 2>/dev/null || true`);
  await run('bash', ['-ec', gone.join('\n')]);
}

/** The command line that runs a program on a host. */
export function onHost({ name }: Pick<Host, 'name'>, argv: readonly string[]): string[] {
  return ['nsenter', `--net=/run/netns/${name}`, '--', ...argv];
}

/** By host. */
export function readLinks(): Map<string, LinkBytes> {
  return parseLinks(readFileSync('/proc/net/dev', 'utf8'));
}

/** Of /proc/net/dev at the bridge: what an outer end receives, its host has sent. PURE. */
export function parseLinks(table: string): Map<string, LinkBytes> {
  const links = new Map<string, LinkBytes>();
  for (const line of table.split('\n')) {
    const [, name, rest] = /^\s*v-([^:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined || rest === undefined) continue;
    const fields = rest.split(/\s+/).map(Number);
    links.set(name, { sent: fields[0] ?? 0, received: fields[8] ?? 0 });
  }
  return links;
}

export function outerEnd(name: string): string {
  return `v-${name}`;
}

function rate(megabits: number): string {
  return `rate ${Math.round(bytesPerSecond(megabits) * 8)}bit ${QUEUE}`;
}
