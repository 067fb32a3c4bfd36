/**
 * What fails around the limits of an origin while they are all that holds a distribution back. After
 * each scenario the origin's own meter is asked for its most connections and bytes in a second.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe } from 'vitest';
import { CONTROL } from '../cluster/network.ts';
import { cutPod, killPod, signalPod } from '../install/processes.ts';
import { NAMESPACE, type Pod, type Sluice } from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import { attachedSluice, MIB, type Scenario, scenario, untilEverywhere } from './scenario.ts';

/** Eight seconds of the limit: what fails comes while it is pulled. */
const SIZE_BYTES = 64 * MIB;
/** The Service of the API server, and what is behind it. */
const API_SERVER = ['10.96.0.1', CONTROL.address];
const CONTROL_PORT = 8443;
/** Longer than a leader leads without the API server, and than a lease lives. */
const CUT_MS = 12_000;

async function begun(on: Scenario, name: string): Promise<OriginFile> {
  const file = await on.putFile(`${name}.bin`, SIZE_BYTES);
  const uid = await on.distribute(file);
  await on.sluice.untilVerified(uid, SIZE_BYTES / 8);
  return file;
}

function leaderOf(sluice: Sluice): Promise<Pod> {
  return sluice.until('a leader', () => sluice.leader());
}

function untilAnotherLeads(sluice: Sluice, before: Pod): Promise<Pod> {
  return sluice.until('another leader', async () => {
    const leader = await sluice.leader();
    return leader?.uid === before.uid ? undefined : leader;
  });
}

async function scaleOperator(replicas: number): Promise<void> {
  const { cluster } = await attachedSluice();
  const operator = ['deployment/sluice-operator', '-n', NAMESPACE];
  await cluster.kubectl(['scale', ...operator, `--replicas=${replicas}`]);
  await cluster.kubectl(['rollout', 'status', ...operator, '--timeout=60s']);
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
    await signalPod(on.cluster, leader, 'SIGSTOP');
    try {
      await untilAnotherLeads(on.sluice, leader);
    } finally {
      await signalPod(on.cluster, leader, 'SIGCONT');
    }
    await untilEverywhere(on.sluice, file);
  });

  scenario('when the leader is cut off from the API server, not from its agents', async (on) => {
    const file = await begun(on, 'leader-without-api');
    const leader = await leaderOf(on.sluice);
    const join = await cutPod(on.cluster, leader, { addresses: API_SERVER });
    try {
      await untilAnotherLeads(on.sluice, leader);
    } finally {
      await join();
    }
    await untilEverywhere(on.sluice, file);
  });

  scenario('when the leader is cut off from its agents, not from the API server', async (on) => {
    const file = await begun(on, 'leader-without-agents');
    const leader = await leaderOf(on.sluice);
    const join = await cutPod(on.cluster, leader, { port: CONTROL_PORT });
    await sleep(CUT_MS);
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
    await node.cutOff();
    await sleep(CUT_MS);
    await node.reconnect();
    await untilEverywhere(on.sluice, file);
  });
});
