/**
 * What fails around the limits of an origin while they are all that holds a distribution back. After
 * each scenario the origin's own meter is asked for its most connections and bytes in a second.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import type { ClusterNode } from '../cluster/cluster.ts';
import { CONTROL } from '../cluster/network.ts';
import { cutPod, killPod, signalPod } from '../install/processes.ts';
import { distributionResource, type OriginLimits, originResource } from '../install/resources.ts';
import type { Pod, Sluice } from '../install/sluice.ts';
import type { MeteredConnection, OriginFile } from '../origin/origin.ts';
import {
  leaderOf,
  MIB,
  nameOf,
  type Scenario,
  scaleOperator,
  scenario,
  sparedNode,
  untilEverywhere,
} from './scenario.ts';

/** Eight seconds of the limit: what fails comes while it is pulled. */
const SIZE_BYTES = 64 * MIB;
/** The Service of the API server, and what is behind it. */
const API_SERVER = ['10.96.0.1', CONTROL.address];
const CONTROL_PORT = 8443;
/** Longer than a leader leads without the API server, and than a lease lives. */
const CUT_MS = 12_000;

/** Of the scenario whose holder is lost. Half a minute and more of the limit. */
const HELD_BYTES = 128 * MIB;
/** Two of three relays have a connection; the third takes what becomes free, as soon as it does. */
const HELD_LIMITS: OriginLimits = {
  maxConnections: 2,
  maxBandwidth: 4 * MIB,
  // The file once, with the heads of the answers; what the lost lease was for, about three seconds
  // of its rate; and what the lost relay alone had, which others pull again.
  maxTraffic: { bytes: HELD_BYTES + 8 * MIB, period: '24h' },
};
/**
 * The origin gives a client up after this: later than its lease ends, so that whoever gave the
 * connections away by then would have too many, and sooner than `closeAfter`.
 */
const IDLE_TIMEOUT_MS = 14_000;
const CLOSE_AFTER = '15s';

async function begun(on: Scenario, name: string): Promise<OriginFile> {
  const file = await on.putFile(`${name}.bin`, SIZE_BYTES);
  const uid = await on.distribute(file);
  await on.sluice.untilVerified(uid, SIZE_BYTES / 8);
  return file;
}

function untilAnotherLeads(sluice: Sluice, before: Pod): Promise<Pod> {
  return sluice.until('another leader', async () => {
    const leader = await sluice.leader();
    return leader?.uid === before.uid ? undefined : leader;
  });
}

/** Connections at the origin, those of this pod, or all others. */
async function connectionsOf({ cluster }: Scenario, pod: Pod, isIts = true) {
  const { list } = (await cluster.origin.stats()).connections;
  return list.filter(({ client }) => client.startsWith(`${pod.address}:`) === isIts);
}

async function openOf(on: Scenario, pod: Pod): Promise<MeteredConnection[]> {
  return (await connectionsOf(on, pod)).filter(({ closeMs }) => closeMs === undefined);
}

/** The relay of a node, when each node has one and this one has a connection at the origin. */
async function holdingRelay(on: Scenario, { name }: ClusterNode): Promise<Pod> {
  const { sluice, cluster } = on;
  const relays = await sluice.until('a relay on each node', async () => {
    const pods = await sluice.pods('relay');
    return cluster.nodes.every((node) => pods.some((pod) => pod.node === node.name))
      ? pods
      : undefined;
  });
  const own = relays.find((pod) => pod.node === name)!;
  await sluice.until('all connections are in use', async () => {
    const { open } = (await cluster.origin.stats()).connections;
    return open === HELD_LIMITS.maxConnections || undefined;
  });
  // It waits for one: another makes room.
  if ((await openOf(on, own)).length === 0) {
    for (const relay of relays) {
      if ((await openOf(on, relay)).length === 0) continue;
      await killPod(cluster, relay);
      break;
    }
  }
  return sluice.until('its relay pulls', async () => {
    const open = await openOf(on, own);
    return open.some(({ bytes }) => bytes > MIB) ? own : undefined;
  });
}

/** The most that were open at once. */
function peakOf(connections: readonly MeteredConnection[]): number {
  return connections.reduce((peak, { openMs: atMs }) => {
    const open = connections.filter(
      ({ openMs, closeMs = Number.POSITIVE_INFINITY }) => openMs <= atMs && atMs < closeMs,
    );
    return Math.max(peak, open.length);
  }, 0);
}

describe('within the limits of the origin a file comes to all nodes', () => {
  beforeAll(() => scaleOperator(2));
  afterAll(() => scaleOperator(1));

  scenario('when the leader is killed', async (on) => {
    const file = await begun(on, 'leader-killed');
    await killPod(on.cluster, await leaderOf(on.sluice));
    await untilEverywhere(on.sluice, file);
  });

  scenario('when the leader is frozen and goes on beside the next one', async (on) => {
    const file = await begun(on, 'leader-frozen');
    const leader = await leaderOf(on.sluice);
    const goOn = on.undo(() => signalPod(on.cluster, leader, 'SIGCONT'));
    await signalPod(on.cluster, leader, 'SIGSTOP');
    await untilAnotherLeads(on.sluice, leader);
    await goOn();
    await untilEverywhere(on.sluice, file);
  });

  scenario('when the leader is cut off from the API server, not from its agents', async (on) => {
    const file = await begun(on, 'leader-without-api');
    const leader = await leaderOf(on.sluice);
    const join = on.undo(await cutPod(on.cluster, leader, { addresses: API_SERVER }));
    await untilAnotherLeads(on.sluice, leader);
    await join();
    await untilEverywhere(on.sluice, file);
  });

  scenario('when the leader is cut off from its agents, not from the API server', async (on) => {
    const file = await begun(on, 'leader-without-agents');
    const leader = await leaderOf(on.sluice);
    const join = on.undo(await cutPod(on.cluster, leader, { port: CONTROL_PORT }));
    await sleep(CUT_MS, undefined, { signal: on.signal });
    await join();
    await untilEverywhere(on.sluice, file);
  });

  scenario('when the database is killed', async (on) => {
    const file = await begun(on, 'database-killed');
    const [database] = await on.sluice.pods('mongodb');
    await killPod(on.cluster, database!);
    await untilEverywhere(on.sluice, file);
  });

  scenario('when a node is cut off, with whatever runs there', async (on) => {
    const file = await begun(on, 'node-cut-off');
    const relays = await on.sluice.pods('relay');
    // A relay's connections would stay open at the origin, which keeps idle ones for minutes.
    const node = on.cluster.nodes.find(({ name }) => relays.every((pod) => pod.node !== name));
    if (node === undefined) throw new Error('a relay runs on every node');
    const reconnect = on.undo(() => node.reconnect());
    await node.cutOff();
    await sleep(CUT_MS, undefined, { signal: on.signal });
    await reconnect();
    await untilEverywhere(on.sluice, file);
  });

  scenario(
    'when the node is cut off whose relay has connections open',
    async (on) => {
      const { sluice, cluster } = on;
      const { origin } = cluster;
      const file = await on.putFile('holder-cut-off.bin', HELD_BYTES);
      // A name that nothing was taken from yet: the file is all that its traffic allows.
      const host = 'fresh.sluice.test';
      on.undo(() => cluster.kubectl(['delete', 'origin', 'fresh', '--ignore-not-found']));
      await sluice.apply(originResource('fresh', host, HELD_LIMITS, CLOSE_AFTER));
      const url = file.url.replace(new URL(file.url).host, host);
      const { sha256 } = file;
      const spec = { relays: { nodesPerRelay: 1 } };
      const node = await sparedNode(on);
      on.undo(() => origin.closeIdleAfter(undefined));
      await origin.closeIdleAfter(IDLE_TIMEOUT_MS);
      await sluice.apply(distributionResource({ name: nameOf(file), url, sha256, spec }));
      const relay = await holdingRelay(on, node);
      const { uid } = (await sluice.distribution(nameOf(file))).metadata;

      const reconnect = on.undo(() => node.reconnect());
      await node.cutOff();
      const held = await openOf(on, relay);
      expect(held.length, 'connections of the lost relay').toBeGreaterThan(0);
      const { nowMs: cutAtMs } = await origin.stats();
      const haveAll = async () => {
        const nodes = await sluice.read.assignments(uid);
        const others = nodes.filter(({ name }) => name !== node.name);
        return others.every(({ verifiedBytes }) => verifiedBytes === HELD_BYTES) || undefined;
      };
      await sluice.until('the other nodes have the file', haveAll, 150_000);
      // What the lost relay had was given on: that is when there may be too many.
      const others = await connectionsOf(on, relay, false);
      const since = others.filter(({ closeMs = cutAtMs }) => closeMs >= cutAtMs);
      expect(peakOf(since)).toBe(HELD_LIMITS.maxConnections);

      await reconnect();
      // A node that is not ready is not waited for, so it was Ready without this one.
      await sluice.until('the node has the file, too', async () => {
        const { status } = await sluice.distribution(nameOf(file));
        return status?.nodes?.ready === cluster.nodes.length || undefined;
      });
      await untilEverywhere(sluice, file);
    },
    { limits: HELD_LIMITS, timeoutMs: 300_000 },
  );
});
