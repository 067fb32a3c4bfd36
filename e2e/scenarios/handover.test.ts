/** Replicas of the operator that take over from each other in mid-transfer. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { askPod } from '../install/askPod.ts';
import { cutPod, killPod } from '../install/processes.ts';
import { NAMESPACE, type Pod } from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import {
  expectEverywhere,
  expectOneEpoch,
  leaderOf,
  MIB,
  type Scenario,
  scaleOperator,
  scenario,
  takenFromOrigin,
  untilEverywhere,
  watchStatus,
} from './scenario.ts';

const METRICS_PORT = 8080;
const AWAY_MS = 60_000;
/** A leader stops by itself after 7 s, and the leases that it renewed last live for 10 s. */
const QUIET_AFTER_MS = 30_000;
/** 24 s of the limit: more than until leases end, beside what is looked at before. */
const LONG_BYTES = 192 * MIB;
const API_AWAY_TIMEOUT_MS = 300_000;
/** Away for 30 s, seen for 15 s to be there for another; and a turn of each. */
const STANDS_BACK_WITHIN_MS = 90_000;
const DATABASE_CUT_TIMEOUT_MS = 300_000;

/** Nothing is begun anew: what relays had under leases of the leaders before counts on. */
async function expectFetchedOnce(on: Scenario, ...files: readonly OriginFile[]): Promise<void> {
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const most = sizeBytes * 1.03 + 8 * MIB;
  expect(await takenFromOrigin(on), 'bytes of the origin').toBeLessThan(most);
  for (const file of files) await expectOneEpoch(on, file);
}

/** How often each container of relays and agents was started again, by its pod. */
async function restartsOfFleet({ cluster }: Scenario): Promise<string[]> {
  const selector = 'app.kubernetes.io/component in (relay,agent)';
  const columns =
    '{range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount}{"\\n"}{end}';
  const args = ['get', 'pods', '-n', NAMESPACE, '-l', selector, '-o', `jsonpath=${columns}`];
  return (await cluster.kubectl(args)).split('\n').filter(Boolean);
}

/** Of the database: its Service's, and its pod's. */
async function databaseAddresses({ cluster, sluice }: Scenario): Promise<string[]> {
  const service = ['get', 'service', 'sluice-mongodb', '-n', NAMESPACE, '-o'];
  const own = await cluster.kubectl([...service, 'jsonpath={.spec.clusterIP}']);
  const pods = (await sluice.pods('mongodb')).map(({ address }) => address);
  return [own, ...pods].filter((address) => address !== 'None');
}

/** The origin has given all of it away, and each relay has it. */
async function untilRelayed({ sluice }: Scenario, uid: string, file: OriginFile): Promise<void> {
  await sluice.until('relays have the whole file', async () => {
    const { relays } = await sluice.read.distribution(uid);
    const isWhole = relays.every(({ verifiedBytes }) => verifiedBytes === file.sizeBytes);
    return relays.length > 0 && isWhole ? true : undefined;
  });
}

/** Each node has said that it has a part of it. */
async function untilTransferring({ sluice, cluster }: Scenario, uid: string): Promise<void> {
  await sluice.until('each node is seen to transfer', async () => {
    const nodes = await sluice.read.assignments(uid);
    expect(nodes).toHaveLength(cluster.nodes.length);
    for (const { name, state, verifiedBytes } of nodes) {
      expect(state, name).toBe('transferring');
      expect(verifiedBytes, name).toBeGreaterThan(0);
    }
    return true;
  });
}

/** What each replica says of itself; `led` before the API server went away, and has begun anew. */
async function expectTruth({ cluster }: Scenario, replicas: readonly Pod[], led: Pod) {
  for (const replica of replicas) {
    const ask = (path: string) => askPod(cluster, replica, METRICS_PORT, path);
    expect((await ask('/healthz')).status, `${replica.name} runs`).toBe(200);
    // It serves as soon as its copies of the objects are complete, whatever goes away later.
    const ready = replica.uid === led.uid ? 503 : 200;
    expect((await ask('/readyz')).status, `${replica.name} is ready`).toBe(ready);
    const { text } = await ask('/metrics');
    expect(text, `${replica.name} does not lead`).toMatch(/^sluice_operator_leader 0$/m);
  }
}

describe('with three replicas', () => {
  beforeAll(() => scaleOperator(3));
  afterAll(() => scaleOperator(1));

  scenario('the leader goes in mid-transfer and the transfer does not notice', async (on) => {
    const { sluice, cluster } = on;
    const done = await on.putFile('handover-done.bin', MIB);
    await on.distribute(done);
    await untilEverywhere(sluice, done);
    const watch = await watchStatus(on, done);
    const file = await on.putFile('handover.bin', LONG_BYTES);
    const uid = await on.distribute(file);
    await sluice.untilVerified(uid, file.sizeBytes / 4);
    const first = await leaderOf(sluice);
    const identity = await sluice.leaderIdentity();
    await cluster.kubectl(['delete', 'pod', first.name, '-n', NAMESPACE, '--wait=false']);
    await sluice.untilLeaderOtherThan(identity);
    expect(await takenFromOrigin(on), 'in mid-transfer').toBeLessThan(file.sizeBytes);
    await untilEverywhere(sluice, file);
    // What is delivered stays so, also in the first second of a leader.
    const counts = (await watch.end()).map(({ nodes }) => nodes?.ready);
    expect(new Set(counts)).toEqual(new Set([cluster.nodes.length]));
    await expectFetchedOnce(on, done, file);
  });

  scenario(
    'the leader is killed, and the API server is away for a minute: files go on, and limits hold',
    async (on) => {
      const { sluice, cluster } = on;
      // Nodes take longer than until the API server is away, and less than until it is back.
      const slow = await on.putFile('api-away-slow.bin', 56 * MIB);
      const slowUid = await on.distribute(slow, { spec: { delivery: { maxRate: '1Mi' } } });
      await sluice.untilVerified(slowUid, 2 * MIB);
      const killed = await sluice.leaderIdentity();
      await killPod(cluster, await leaderOf(sluice));
      const next = await sluice.untilLeaderOtherThan(killed);
      await untilRelayed(on, slowUid, slow);

      const replicas = await sluice.pods('operator');
      expect(replicas).toHaveLength(3);
      const led = await leaderOf(sluice);
      // The leader of now knows them: of who has not called it there are no bytes, either.
      await untilTransferring(on, slowUid);

      // Longer than a leader leads without the API server, and its leases live.
      const pulled = await on.putFile('api-away-pulled.bin', LONG_BYTES);
      const pulledUid = await on.distribute(pulled);
      await sluice.untilVerified(pulledUid, MIB);
      const restarts = await restartsOfFleet(on);

      const thaw = on.undo(async () => {
        await cluster.thawApiServer();
        // What the kubelets could not say for a minute.
        const nodes = ['wait', 'node', '--all', '--for=condition=Ready', '--timeout=60s'];
        await cluster.kubectl(nodes, { timeoutMs: 70_000 });
      });
      await cluster.freezeApiServer();
      const backAtMs = performance.now() + AWAY_MS;
      await sleep(QUIET_AFTER_MS, undefined, { signal: on.signal });
      const taken = await takenFromOrigin(on);
      await expectTruth(on, replicas, led);
      await sleep(backAtMs - performance.now(), undefined, { signal: on.signal });
      expect(await takenFromOrigin(on), 'bytes of the origin without leases').toBe(taken);
      expect(taken, 'in mid-pull').toBeLessThan(slow.sizeBytes + pulled.sizeBytes);
      await expectEverywhere(sluice, slow);
      await thaw();
      await sluice.untilLeaderOtherThan(next);
      await untilEverywhere(sluice, pulled);
      await untilEverywhere(sluice, slow);
      await expectFetchedOnce(on, slow, pulled);
      const after = await restartsOfFleet(on);
      expect(after.length).toBeGreaterThanOrEqual(cluster.nodes.length);
      // Relays that nobody needs any more go.
      expect(restarts).toEqual(expect.arrayContaining(after));
    },
    { timeoutMs: API_AWAY_TIMEOUT_MS },
  );

  scenario(
    'the leader alone loses the database, and stands back for one who has it',
    async (on) => {
      const { sluice, cluster } = on;
      const file = await on.putFile('database-cut.bin', LONG_BYTES);
      const uid = await on.distribute(file);
      await sluice.untilVerified(uid, file.sizeBytes / 8);
      const led = await leaderOf(sluice);
      const identity = await sluice.leaderIdentity();
      const addresses = await databaseAddresses(on);
      expect(addresses, 'addresses of the database').not.toEqual([]);
      const join = on.undo(await cutPod(cluster, led, { addresses }));
      const next = await sluice.untilLeaderOtherThan(identity, STANDS_BACK_WITHIN_MS);
      expect(next.startsWith(`${led.name}/`), 'the next one is another pod').toBe(false);
      expect(await takenFromOrigin(on), 'in mid-transfer').toBeLessThan(file.sizeBytes);
      await untilEverywhere(sluice, file);
      // It has begun anew, waits for the database, and is in nobody's way.
      const ask = (path: string) => askPod(cluster, led, METRICS_PORT, path);
      expect((await ask('/healthz')).status, `${led.name} runs`).toBe(200);
      expect((await ask('/readyz')).status, `${led.name} is not ready`).toBe(503);
      expect(await sluice.leaderIdentity(), 'who leads stays').toBe(next);
      await join();
      await sluice.until(`${led.name} is ready`, async () => {
        return (await ask('/readyz')).status === 200 || undefined;
      });
      expect(await sluice.leaderIdentity(), 'who leads stays').toBe(next);
      await expectFetchedOnce(on, file);
    },
    { timeoutMs: DATABASE_CUT_TIMEOUT_MS },
  );
});
