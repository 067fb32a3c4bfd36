import type { TransferReport, WorkMessage } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FakeClock, settle } from '../testing/fakeClock.ts';
import { noRows } from '../testing/noRows.ts';
import { aPlanOf, aRecord, aTransferReport } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';
import type { Coordinator } from './coordinator.ts';
import type { FleetProcess } from './fleetView.ts';

const UID = 'uid-1';

let test: TestCoordinator;
let clock: FakeClock;
let coordinator: Coordinator;

beforeEach(async () => {
  test = await new TestCoordinator().start();
  ({ clock, coordinator } = test);
  const nodes = ['n1', 'n2', 'n3'].map((name) => ({ name, domain: 'a' }));
  coordinator.apply(aPlanOf(aRecord({ uid: UID }), { nodes }));
  coordinator.primed();
  await settle();
});
afterEach(() => test.stop());

function connect(node: string): FleetProcess {
  return test.connect('agent', node);
}

function told(): WorkMessage[] {
  return [...test.told.values()].flat();
}

/** How often everybody was looked at for it. */
async function looksAfter(process: FleetProcess, transfer: Partial<TransferReport>) {
  const sequence = process.reportSequence + 1;
  const transfers = [aTransferReport({ uid: UID, ...transfer })];
  const look = vi.spyOn(coordinator.fleet, 'connected');
  coordinator.fleet.report(process, { incarnation: 'run-of-it', sequence, transfers }, clock.now());
  await clock.advance(200);
  const looks = look.mock.calls.length;
  look.mockRestore();
  return looks;
}

it('a node that says again that it is ready is no news, and one that is so no more or again is', async () => {
  const agent = connect('n1');
  await clock.advance(200);
  expect(await looksAfter(agent, { state: 'pending' })).toBe(1);
  expect(await looksAfter(agent, { state: 'transferring' })).toBe(0);
  expect(await looksAfter(agent, { state: 'ready' })).toBe(1);
  expect(await looksAfter(agent, { state: 'ready', uploadedBytes: 1_000 })).toBe(0);
  expect(await looksAfter(agent, { state: 'transferring' })).toBe(1);
  expect(await looksAfter(agent, { state: 'verifying' })).toBe(0);
  expect(await looksAfter(agent, { state: 'ready', uploadedBytes: 2_000 })).toBe(1);
});

it('lists of peers are made again when the members are others, and told when they differ', async () => {
  const one = connect('n1');
  const two = connect('n2');
  await clock.advance(200);
  const before = one.told.get(UID)?.peers;
  expect(before?.map(({ id }) => id)).toEqual(['agent-n2']);
  for (const messages of test.told.values()) messages.length = 0;
  coordinator.setOrigins([]);
  await clock.advance(200);
  expect(one.told.get(UID)?.peers).toBe(before);
  expect(told()).toEqual([]);

  connect('n3');
  await clock.advance(200);
  const after = one.told.get(UID)?.peers;
  expect(after?.map(({ id }) => id)).toEqual(['agent-n2', 'agent-n3']);
  // Who is in both is the same: nobody compares what it says of itself.
  expect(after?.[0]).toBe(before?.[0]);

  if (two.stream !== undefined) coordinator.fleet.closed(two, two.stream, clock.now());
  await clock.advance(200);
  expect(one.told.get(UID)?.peers.map(({ id }) => id)).toEqual(['agent-n3']);
});

it('a place is kept for a node whose agent may come back, and then given to another', async () => {
  test.stop();
  const received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  const progress = {
    state: 'transferring',
    verifiedBytes: 1,
    rateBytesPerSecond: 0,
    received,
  } as const;
  const rows = [{ uid: UID, epoch: 1, node: 'n1', progress }];
  const assignments = { ...noRows.assignments, load: async () => [{ uid: UID, number: 0, rows }] };
  test = await new TestCoordinator({ ...noRows, assignments }).start();
  const nodes = ['n1', 'n2'].map((name) => ({ name, domain: 'a' }));
  test.coordinator.apply(aPlanOf(aRecord({ uid: UID }), { nodes, maxParallelNodes: 1 }));
  test.coordinator.primed();
  test.connect('agent', 'n2');
  const types = () => test.told.get('n2')?.map(({ type }) => type);
  await test.clock.advance(29_000);
  expect(types()).toEqual(['synced']);
  await test.clock.advance(7_000);
  expect(types()).toEqual(['synced', 'task', 'peers', 'synced']);
});

describe('to an agent that has nothing to do for it', () => {
  const nodes = ['n1', 'n2', 'n3'].map((name) => ({ name, domain: 'a' }));
  const plan = (overrides: object) => aPlanOf(aRecord({ uid: UID }), { nodes, ...overrides });
  /** What the node was told last of what rests. */
  const resting = (node: string) => {
    const synced = (test.told.get(node) ?? []).filter((message) => message.type === 'synced');
    return synced.at(-1)?.resting ?? [];
  };

  it('a suspended one is named, at once and to who comes later, until it goes on or is no more', async () => {
    connect('n1');
    connect('elsewhere');
    await clock.advance(1_000);
    expect(resting('n1')).toEqual([]);
    coordinator.apply(plan({ suspend: true }));
    connect('n2');
    test.connect('relay', 'r1');
    await clock.advance(1_000);
    expect(
      test.told
        .get('n1')
        ?.map(({ type }) => type)
        .slice(-2),
    ).toEqual(['remove', 'synced']);
    expect(resting('n1')).toEqual([UID]);
    expect(resting('n2')).toEqual([UID]);
    expect(resting('elsewhere')).toEqual([]);
    expect(resting('r1')).toEqual([]);
    const said = test.told.get('n1')?.length;
    coordinator.setOrigins([]);
    await clock.advance(1_000);
    expect(test.told.get('n1')).toHaveLength(said ?? 0);
    coordinator.apply(plan({ suspend: false }));
    await clock.advance(1_000);
    expect(resting('n1')).toEqual([]);
    coordinator.apply(plan({ suspend: true }));
    await clock.advance(1_000);
    expect(resting('n1')).toEqual([UID]);
    coordinator.remove(UID, { deleteFiles: false });
    await clock.advance(1_000);
    expect(resting('n1')).toEqual([]);
  });

  it('one is named that waits for its turn, or whose grace lasts after the node has left', async () => {
    test.stop();
    test = await new TestCoordinator().start();
    ({ clock, coordinator } = test);
    coordinator.apply(plan({ maxParallelNodes: 1 }));
    coordinator.primed();
    connect('n1');
    connect('n2');
    await clock.advance(60_000);
    const told = (node: string) => test.told.get(node)?.some(({ type }) => type === 'task');
    expect([told('n1'), resting('n1')]).toEqual([true, []]);
    expect([told('n2'), resting('n2')]).toEqual([false, [UID]]);
    const leaving = { deleteFiles: true, graceMs: 3_600_000 };
    coordinator.apply(plan({ nodes: nodes.slice(1), leaving }));
    await clock.advance(60_000);
    expect(resting('n1')).toEqual([UID]);
    expect([told('n2'), resting('n2')]).toEqual([true, []]);
  });
});

it('in a swarm of hundreds a list that is another one is told when it is due', async () => {
  const names = Array.from({ length: 602 }, (_, at) => `many-${String(at).padStart(3, '0')}`);
  const nodes = names.map((name) => ({ name, domain: 'a' }));
  coordinator.apply(aPlanOf(aRecord({ uid: UID }), { nodes }));
  for (const name of names.slice(2)) connect(name);
  await clock.advance(200);
  const lists = () => told().filter(({ type }) => type === 'peers').length;
  expect(lists()).toBe(600);
  connect('many-000');
  await clock.advance(200);
  // Who comes is told at once, the others when theirs has held for 1.2 s.
  expect(lists()).toBe(601);
  await clock.advance(2_000);
  const settled = lists();
  expect(settled).toBeGreaterThan(610);
  await clock.advance(10_000);
  expect(lists()).toBe(settled);
});
