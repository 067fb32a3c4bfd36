/**
 * The cluster's network: one bridge; the control plane, the origin and each node hang on it with a
 * network namespace of their own. Pods get a /24 a node, routed, never translated.
 */
import { readFile, writeFile } from 'node:fs/promises';
import type { Place, Sandbox } from './sandbox.ts';

/** Undefined means unshaped. */
export interface LinkRate {
  readonly downBitsPerSecond?: number | undefined;
  readonly upBitsPerSecond?: number | undefined;
}

export const CONTROL = { network: 'control', address: '10.80.0.2' } as const;
export const ORIGIN = { network: 'origin', address: '10.80.0.3' } as const;
export const SERVICE_CIDR = '10.96.0.0/16';
export const DNS_ADDRESS = '10.96.0.10';
export const POD_CIDR = '10.244.0.0/16';

/** Node 1 is the first. Addresses and pod networks allow 250 nodes. */
export const MAX_NODES = 250;

export function nodeAddress(index: number): string {
  return `10.80.1.${index}`;
}

export function podCidr(index: number): string {
  return `10.244.${index}.0/24`;
}

const bridge: Place = {};
const BRIDGE_ADDRESS = '10.80.0.1';

const ALLOWED = '/proc/sys/net/ipv4/tcp_allowed_congestion_control';

/**
 * Whether the namespaces may use TCP cubic. The default may be BBR, which pays no heed to the
 * queue that a shaped link builds. The kernel must allow an algorithm for all before a namespace
 * may choose it; that changes nobody's choice.
 */
export async function allowCubic(): Promise<boolean> {
  const allowed = await readFile(ALLOWED, 'utf8').catch(() => '');
  if (allowed.split(/\s+/).includes('cubic')) return true;
  return writeFile(ALLOWED, `${allowed.trim()} cubic`).then(
    () => true,
    () => false,
  );
}

/** Makes the namespaces, their links to the bridge and the routes to all pods. */
export async function buildNetwork(sandbox: Sandbox, nodes: readonly string[]): Promise<void> {
  const congestion = (await allowCubic()) ? 'net.ipv4.tcp_congestion_control=cubic' : '';
  const hosts = [
    { name: CONTROL.network, address: CONTROL.address },
    { name: ORIGIN.network, address: ORIGIN.address },
    ...nodes.map((name, at) => ({ name, address: nodeAddress(at + 1) })),
  ];
  const lines = [
    'ip link add cluster0 type bridge forward_delay 0',
    `ip address add ${BRIDGE_ADDRESS}/16 dev cluster0`,
    'ip link set cluster0 up',
  ];
  for (const host of hosts) {
    lines.push(
      `ip netns add ${host.name}`,
      `ip link add ${outerEnd(host.name)} type veth peer name eth0 netns ${host.name}`,
      `ip link set ${outerEnd(host.name)} master cluster0 up`,
    );
    const inside = [
      'ip link set lo up',
      `ip address add ${host.address}/16 dev eth0`,
      'ip link set eth0 up',
      `sysctl -qw net.ipv4.ip_forward=1 ${congestion}`,
      // kube-proxy turns the address of a Service into a pod's only after a route was found.
      `ip route add ${SERVICE_CIDR} via ${BRIDGE_ADDRESS}`,
      'sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0',
      ...nodes.flatMap((name, at) =>
        name === host.name ? [] : [`ip route add ${podCidr(at + 1)} via ${nodeAddress(at + 1)}`],
      ),
    ];
    lines.push(`nsenter --net=/run/netns/${host.name} sh -ec '${inside.join('\n')}'`);
  }
  await sandbox.script(bridge, lines.join('\n'));
}

/**
 * What the queue of a shaped link holds, as time; and what it lets through at once: a whole segment
 * of the kernel's, which a smaller burst would have it cut into packets, at ten times the cost.
 */
const QUEUE = 'burst 128k latency 50ms';

/** Both directions: what the host sends is shaped at its own end, what it gets at the bridge's. */
export async function setLinkRate(sandbox: Sandbox, host: string, rate: LinkRate): Promise<void> {
  await shape(sandbox, { network: host }, 'eth0', rate.upBitsPerSecond);
  await shape(sandbox, bridge, outerEnd(host), rate.downBitsPerSecond);
}

async function shape(
  sandbox: Sandbox,
  place: Place,
  device: string,
  bitsPerSecond: number | undefined,
): Promise<void> {
  if (bitsPerSecond === undefined) {
    await sandbox.script(place, `tc qdisc delete dev ${device} root 2>/dev/null || true`);
    return;
  }
  if (!(bitsPerSecond > 0)) throw new Error(`a link rate must be positive, not ${bitsPerSecond}`);
  const rate = `${Math.round(bitsPerSecond)}bit`;
  await sandbox.script(place, `tc qdisc replace dev ${device} root tbf rate ${rate} ${QUEUE}`);
}

/** Cuts a host off from all others, or joins it again; its processes go on. */
export async function setConnected(
  sandbox: Sandbox,
  host: string,
  connected: boolean,
): Promise<void> {
  await sandbox.script(bridge, `ip link set ${outerEnd(host)} ${connected ? 'up' : 'down'}`);
}

function outerEnd(host: string): string {
  return `v-${host}`;
}
