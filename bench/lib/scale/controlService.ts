/**
 * Hosts of the operator's replicas, and their Service as kube-proxy makes it: each new connection
 * goes to one of the endpoints by lot, and what is open stays where it is.
 */
import { run } from '../../../e2e/cluster/run.ts';
import { BRIDGE, BRIDGE_ADDRESS } from '../namespaces.ts';

export interface ReplicaHost {
  readonly name: string;
  readonly address: string;
}

const PORT = 8443;
const CHAIN = 'CONTROL';

export function replicaHosts(count: number): ReplicaHost[] {
  return Array.from({ length: count }, (_, at) => ({
    name: `sluice-operator-${at}`,
    address: `10.80.3.${at + 1}`,
  }));
}

/** From there the database is at the bridge's address, under the port that it has on loopback. */
export async function makeReplicaHosts(
  hosts: readonly ReplicaHost[],
  databasePort: number,
): Promise<void> {
  const lines = hosts.flatMap(({ name, address }, at) => [
    `ip netns add ${name}`,
    `ip link add v-operator${at} type veth peer name eth0 netns ${name}`,
    `ip link set v-operator${at} master ${BRIDGE} up`,
    `nsenter --net=/run/netns/${name} sh -ec '
      ip link set lo up
      ip address add ${address}/16 dev eth0
      ip link set eth0 up'`,
  ]);
  const database = `-p tcp --dport ${databasePort} -j DNAT --to-destination 127.0.0.1`;
  await run('bash', [
    '-ec',
    [
      ...lines,
      `sysctl -qw net.ipv4.conf.${BRIDGE}.route_localnet=1`,
      // All agents have one address here: its ports must do for all their connections.
      'sysctl -qw net.ipv4.ip_local_port_range="10000 65535" net.ipv4.tcp_tw_reuse=1',
      `iptables -t nat -A PREROUTING -i ${BRIDGE} -d ${BRIDGE_ADDRESS} ${database}`,
      `iptables -t nat -N ${CHAIN}`,
      `iptables -t nat -A OUTPUT -d ${BRIDGE_ADDRESS} -p tcp --dport ${PORT} -j ${CHAIN}`,
    ].join('\n'),
  ]);
}

export async function removeReplicaHosts(hosts: readonly ReplicaHost[]): Promise<void> {
  const lines = hosts.map(({ name }) => `ip netns delete ${name}`);
  const rules = ['iptables -t nat -F', `iptables -t nat -X ${CHAIN}`];
  await run('bash', ['-ec', [...lines, ...rules].join('\n')]);
}

/** All at once, as kube-proxy does it. */
export async function setEndpoints(addresses: readonly string[]): Promise<void> {
  const rules = addresses.map((address, at) => {
    const share = (1 / (addresses.length - at)).toFixed(6);
    const byLot = `-m statistic --mode random --probability ${share}`;
    return `-A ${CHAIN} -p tcp ${byLot} -j DNAT --to-destination ${address}:${PORT}`;
  });
  const input = ['*nat', `:${CHAIN} - [0:0]`, ...rules, 'COMMIT', ''].join('\n');
  await run('iptables-restore', ['--noflush'], { input });
}
