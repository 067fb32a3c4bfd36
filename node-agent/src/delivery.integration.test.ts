/** A task that runs and is told again with another delivery, with real processes. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { distributeFile, tell } from './testing/distribute.ts';
import { receivedBytes } from './testing/processFleet.ts';
import { testTenants } from './testing/testTenants.ts';

type Delivery = Task['delivery'];

const MIB = 1024 * 1024;
/** Over which a rate is measured. */
const LOOK_MS = 2_000;
/** What was asked for under the limit before is here by then. */
const SETTLED_MS = 1_000;
const BITTORRENT: Delivery = { topUp: [], transport: 'Hybrid' };

const { origin, fleet, table } = testTenants(
  { relay: 'relay', one: 'agent', two: 'agent' },
  { vi, beforeAll, beforeEach, afterAll },
);

/** Also to tasks that run. */
function tellDelivery(task: Task, delivery: Delivery): void {
  tell(fleet, { ...task, delivery });
}

/** To these, each of which knows the one before it and the one after it alone. */
function tellChain(
  chain: readonly string[],
  task: Task,
  deliveryOf: (name: string) => Delivery,
): void {
  for (const [at, name] of chain.entries()) {
    const neighbours = [chain[at - 1], chain[at + 1]];
    for (const message of fleet.messagesFor({ ...task, delivery: deliveryOf(name) }, name)) {
      const told =
        message.type === 'peers'
          ? { ...message, peers: message.peers.filter(({ id }) => neighbours.includes(id)) }
          : message;
      fleet.control.send(told, { name });
    }
  }
}

function receivedBy(name: string, uid: string): number {
  const report = fleet.control.lastReport(name, uid);
  return report === undefined ? 0 : receivedBytes(report);
}

/** Bytes per second, as reported from now on. */
async function rateAt(name: string, uid: string): Promise<number> {
  await sleep(SETTLED_MS);
  const [before, fromMs] = [receivedBy(name, uid), performance.now()];
  await sleep(LOOK_MS);
  return ((receivedBy(name, uid) - before) * 1_000) / (performance.now() - fromMs);
}

async function expectPlaced(name: string, uid: string, body: Buffer): Promise<void> {
  await fleet.ready(name, uid);
  const file = path.join(fleet.programOf(name).folder, 'team', uid, `${uid}.bin`);
  expect((await readFile(file)).equals(body), `${uid} on ${name}`).toBe(true);
}

/** Leases that nodes have asked for, so as to hold their floor. */
const topUpAsks = (uid: string) =>
  fleet.control.leaseRequests.filter(
    (asked) => asked.op === 'acquire' && asked.uid === uid && asked.topUp !== undefined,
  ).length;

describe('a delivery that is edited while bytes move', () => {
  it('gives a node more, then less, by its maxRate', async () => {
    const body = randomBytes(32 * MIB);
    const limited = (maxRate: number): Delivery => ({ ...BITTORRENT, maxRate });
    const task = distributeFile(
      { origin, fleet, table },
      { uid: 'capped', body, delivery: limited(MIB) },
    );
    await fleet.reported('one', 'capped', (now) => receivedBytes(now) > 0);
    const first = await rateAt('one', 'capped');
    tellDelivery(task, limited(4 * MIB));
    const higher = await rateAt('one', 'capped');
    tellDelivery(task, limited(MIB / 4));
    const lower = await rateAt('one', 'capped');
    expect(higher).toBeGreaterThan(2 * first);
    expect(lower).toBeLessThan(first / 2);
    tellDelivery(task, BITTORRENT);
    for (const name of ['one', 'two']) await expectPlaced(name, 'capped', body);
  });

  it.each([
    ['relay', 'one'],
    ['one', 'two'],
  ])('lets %s give more, then less, by maxUploadRate, to %s', async (giver, taker) => {
    const uid = `given-by-${giver}`;
    const body = randomBytes(32 * MIB);
    const task = distributeFile({ origin, table }, { uid, body });
    const chain = giver === 'relay' ? ['relay', 'one'] : ['relay', 'one', 'two'];
    const limit = (maxUploadRate: number) =>
      tellChain(chain, task, (name) => ({
        ...BITTORRENT,
        ...(name === giver && { maxUploadRate }),
      }));
    limit(MIB);
    await fleet.reported(taker, uid, (now) => receivedBytes(now) > 0);
    const first = await rateAt(taker, uid);
    limit(4 * MIB);
    const higher = await rateAt(taker, uid);
    limit(MIB / 4);
    const lower = await rateAt(taker, uid);
    expect(higher).toBeGreaterThan(2 * first);
    expect(lower).toBeLessThan(first / 2);
    tellChain(chain, task, () => BITTORRENT);
    await expectPlaced(taker, uid, body);
  });

  it('lets a node ask for leases when minRate is raised, and for none without topUp', async () => {
    const uid = 'floored';
    const body = randomBytes(64 * MIB);
    // So much comes over BitTorrent.
    const slow: Delivery = { ...BITTORRENT, maxUploadRate: 2 * MIB };
    const task = distributeFile({ origin, table }, { uid, body });
    const tellBoth = (delivery: Delivery) => tellChain(['relay', 'one'], task, () => delivery);
    tellBoth(slow);
    // While nothing has come yet, any floor is missed.
    await fleet.reported('one', uid, (now) => receivedBytes(now) > 2 * MIB);
    const helped: Delivery = { ...slow, topUp: ['Origin'] };
    tellBoth({ ...helped, minRate: MIB / 8 });
    await sleep(LOOK_MS);
    expect(topUpAsks(uid)).toBe(0);

    tellBoth({ ...helped, minRate: 6 * MIB });
    await fleet.reported('one', uid, ({ received }) => received.fromOrigin > 4 * MIB);
    expect(topUpAsks(uid)).toBeGreaterThan(0);

    tellBoth({ ...slow, minRate: 6 * MIB });
    // What is leased still comes, at the rate of its lease.
    await sleep(SETTLED_MS);
    const asks = topUpAsks(uid);
    await sleep(LOOK_MS);
    expect(topUpAsks(uid)).toBe(asks);
    expect(fleet.control.lastReport('one', uid)?.state).toBe('transferring');

    tellBoth({ ...helped, minRate: 6 * MIB });
    await vi.waitFor(() => expect(topUpAsks(uid)).toBeGreaterThan(asks), { timeout: 10_000 });
    tellBoth(BITTORRENT);
    await expectPlaced('one', uid, body);
    expect(receivedBy('one', uid)).toBeLessThanOrEqual(body.length * 1.02);
  });

  it('changes from HTTP to BitTorrent and back, and fetches next to nothing twice', async () => {
    const uid = 'switched';
    const body = randomBytes(48 * MIB);
    const over = (transport: Delivery['transport']): Delivery => ({
      topUp: ['Relay'],
      transport,
      // So that each has its time.
      maxRate: 8 * MIB,
    });
    const task = distributeFile({ origin, fleet, table }, { uid, body, delivery: over('HTTP') });
    const part = 8 * MIB;
    const { received: first } = await fleet.reported(
      'one',
      uid,
      ({ received }) => received.fromRelayHttp > part,
    );
    expect(first).toMatchObject({ fromPeers: 0, fromRelays: 0 });
    tellDelivery(task, over('Hybrid'));
    const { received: second } = await fleet.reported(
      'one',
      uid,
      ({ received }) => received.fromPeers + received.fromRelays > part,
    );
    tellDelivery(task, over('HTTP'));
    const again = second.fromRelayHttp + MIB;
    const { received: third } = await fleet.reported(
      'one',
      uid,
      ({ received }) => received.fromRelayHttp > again,
    );
    const { received: fourth } = await fleet.reported(
      'one',
      uid,
      ({ received }) => received.fromRelayHttp > again + part,
    );
    const { fromPeers, fromRelays } = third;
    expect(fourth).toMatchObject({ fromPeers, fromRelays });
    tellDelivery(task, over('Hybrid'));
    for (const name of ['one', 'two']) {
      await expectPlaced(name, uid, body);
      expect(receivedBy(name, uid)).toBeLessThanOrEqual(body.length * 1.02);
    }
    const last = await fleet.ready('one', uid);
    expect(last.received.fromPeers + last.received.fromRelays).toBeGreaterThan(
      fromPeers + fromRelays,
    );
  });
});
