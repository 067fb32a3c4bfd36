/** Removals as relays and agents meet them: their real client, a real API server and database. */
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { rowsIn } from '../store/assignments.ts';
import { startApiServer, type TestApiServer } from '../testing/adapters/apiServer.ts';
import { type ControlSetup, startControl } from '../testing/adapters/controlSetup.ts';
import { createAccounts, type FleetPodOptions } from '../testing/adapters/fleetPods.ts';
import {
  AGENT,
  aPlan,
  aTransfer,
  RELAY,
  startProcess,
  toldOf,
} from '../testing/adapters/fleetProcess.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';

const NEVER = new AbortController().signal;
const WAIT = { timeout: 5_000, interval: 20 };

let api: TestApiServer;
let database: TestDatabase;
let control: ControlSetup;

beforeAll(async () => {
  [api, database] = await Promise.all([startApiServer(), startTestDatabase()]);
  await createAccounts(api.admin);
});
afterAll(async () => {
  await Promise.all([api?.stop(), database?.stop()]);
});
beforeEach(async () => {
  control = await startControl(api, database);
});
afterEach(() => control.stop());

async function connect(options: FleetPodOptions) {
  const process = await startProcess(api, control, options);
  await vi.waitFor(() => expect(process.client.connected).toBe(true), WAIT);
  return process;
}

describe('a removal', () => {
  it('is done when every process has confirmed it, and leaves no row', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    const { coordinator, assignments } = control;
    coordinator.apply(plan);
    coordinator.primed();
    const agent = await connect(AGENT);
    const relay = await connect(RELAY);
    await agent.client.report({ transfers: [aTransfer(uid)] }, NEVER);
    await vi.waitFor(async () => expect(rowsIn(await assignments.load(uid))).toHaveLength(1), WAIT);
    coordinator.remove(uid, { deleteFiles: true });
    expect(coordinator.removed(uid)).toBe(false);
    for (const process of [agent, relay]) {
      await vi.waitFor(
        () =>
          expect(toldOf(process, 'remove')).toEqual([{ type: 'remove', uid, deleteFiles: true }]),
        WAIT,
      );
    }
    const removed = { transfers: [aTransfer(uid, { state: 'removed' })] };
    await agent.client.report(removed, NEVER);
    expect(coordinator.removed(uid)).toBe(false);
    await relay.client.report(removed, NEVER);
    expect(coordinator.removed(uid)).toBe(true);
    await coordinator.deleteRows(uid);
    expect(rowsIn(await assignments.load(uid))).toEqual([]);
  });
});

describe('files that stay for a grace', () => {
  it('are let go of, go later, and are missed until the node has said that they are gone', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    const { coordinator, assignments } = control;
    coordinator.apply(plan);
    coordinator.primed();
    const agent = await connect(AGENT);
    await agent.client.report({ transfers: [aTransfer(uid, { state: 'ready' })] }, NEVER);
    coordinator.remove(uid, { deleteFiles: false });
    await vi.waitFor(() => expect(coordinator.removed(uid)).toBe(true), WAIT);
    // What was reported a moment before is written: it says who has the files.
    await vi.waitFor(async () => expect(rowsIn(await assignments.load(uid))).toHaveLength(1), WAIT);

    coordinator.remove(uid, { deleteFiles: true });
    await vi.waitFor(
      () => expect(toldOf(agent, 'remove').map((each) => each.deleteFiles)).toEqual([false, true]),
      WAIT,
    );
    await vi.waitFor(() => expect(coordinator.missing(uid)).toEqual([AGENT.node]), WAIT);
    await agent.client.report({ transfers: [aTransfer(uid, { state: 'removed' })] }, NEVER);
    expect(coordinator.missing(uid)).toEqual([]);
  });

  it('are served again to another Distribution, and nothing is pulled that every node has', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    const { coordinator } = control;
    coordinator.apply(plan);
    coordinator.primed();
    const agent = await connect(AGENT);
    const relay = await connect(RELAY);
    await vi.waitFor(() => expect(toldOf(agent, 'task')).toHaveLength(1), WAIT);
    await agent.client.report({ transfers: [aTransfer(uid, { state: 'ready' })] }, NEVER);
    coordinator.remove(uid, { deleteFiles: false });
    await vi.waitFor(() => expect(toldOf(agent, 'remove')).toHaveLength(1), WAIT);
    const record = { ...plan.record, owner: 'heir', name: 'again' };
    await vi.waitFor(async () => {
      expect(rowsIn(await control.assignments.load(uid))).toHaveLength(1);
    }, WAIT);
    coordinator.apply({ ...plan, record });
    await vi.waitFor(() => {
      const names = toldOf(agent, 'task').map(({ task }) => task.name);
      expect(names).toEqual([plan.record.name, 'again']);
      expect(coordinator.view('heir')?.nodes).toMatchObject([{ state: 'ready' }]);
    }, WAIT);
    const ask = {
      op: 'acquire',
      uid,
      epoch: 1,
      wantRateBytesPerSecond: 1_000_000,
      wantConnections: 1,
      pullerKey: generateFeedKeyPair().publicKey.toString('base64'),
    } as const;
    const { answer } = await relay.client.lease(ask, 2_000, NEVER);
    expect(answer).toMatchObject({ outcome: 'wait' });
    const join = (...names: string[]) => {
      const { domain } = plan.nodes[0]!;
      const late = names.map((name) => ({ name, domain }));
      coordinator.apply({ ...plan, record, nodes: [...plan.nodes, ...late] });
    };
    // One node more gets it from the one that has it.
    join('late-a');
    await vi.waitFor(async () => {
      const again = await relay.client.lease(ask, 2_000, NEVER);
      expect(again.answer).toMatchObject({ reason: 'NothingToPull' });
    }, WAIT);
    // For three one is not enough.
    join('late-a', 'late-b', 'late-c');
    await vi.waitFor(async () => {
      expect((await relay.client.lease(ask, 2_000, NEVER)).answer.outcome).toBe('granted');
    }, WAIT);
  });
});

describe('a removal that an earlier leader began', () => {
  it('waits for the agents that have the file, though they have not found this leader yet', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    control.coordinator.apply(plan);
    const before = await connect(AGENT);
    await before.client.report({ transfers: [aTransfer(uid)] }, NEVER);
    const { assignments } = control;
    await vi.waitFor(async () => expect(rowsIn(await assignments.load(uid))).toHaveLength(1), WAIT);
    await control.stop();
    control = await startControl(api, database);
    const { coordinator } = control;
    coordinator.remove(uid, { deleteFiles: true });
    coordinator.primed();
    await connect({ ...AGENT, node: 'node-b', address: '127.0.0.5' });
    const agent = await connect(AGENT);
    const removed = { transfers: [aTransfer(uid, { state: 'removed' })] };
    await vi.waitFor(() => expect(toldOf(agent, 'remove')).toHaveLength(1), WAIT);
    expect(coordinator.removed(uid)).toBe(false);
    const bystander = coordinator.fleet.connected().find(({ node }) => node === 'node-b');
    if (bystander === undefined) throw new Error('no bystander');
    const report = { incarnation: 'bystander', sequence: 1, ...removed };
    coordinator.fleet.report(bystander, report, 0);
    expect(coordinator.removed(uid)).toBe(false);
    await agent.client.report(removed, NEVER);
    expect(coordinator.removed(uid)).toBe(true);
  });
});
