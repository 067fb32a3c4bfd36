/** Nodes that have left the target, under one leader and the next. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { AssignmentShard } from '../store/assignments.ts';
import { noRows } from '../testing/noRows.ts';
import { aPlanOf, aRecord, aTransferReport } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';

const GRACE_MS = 60_000;
const BEGAN_AT_MS = 1_800_000_000_000;

let stored: Map<number, AssignmentShard>;
let leaders: TestCoordinator[];

beforeEach(() => {
  stored = new Map();
  leaders = [];
});
afterEach(() => {
  for (const leader of leaders) leader.stop();
});

const planOf = (...names: string[]) =>
  aPlanOf(aRecord(), {
    nodes: names.map((name) => ({ name, domain: 'a' })),
    leaving: { deleteFiles: true, graceMs: GRACE_MS },
  });

/** It begins with what is stored. */
async function leader(startedAtUnixMs: number, ...targets: string[]): Promise<TestCoordinator> {
  const assignments = {
    load: async () => [...stored.values()],
    save: async (shard: AssignmentShard) => {
      stored.set(shard.number, structuredClone(shard));
    },
    delete: async () => {},
  };
  const test = new TestCoordinator({ ...noRows, assignments }, startedAtUnixMs);
  leaders.push(test);
  await test.start();
  test.coordinator.setNodes(new Set(['n1', 'n2']));
  test.coordinator.apply(planOf(...targets));
  test.coordinator.primed();
  await test.clock.advance(1_000);
  for (const node of ['n1', 'n2']) {
    const agent = test.connect('agent', node);
    const transfers = [aTransferReport({ state: 'ready', verifiedBytes: 1000 })];
    const report = { incarnation: 'run', sequence: 1, transfers };
    test.coordinator.fleet.report(agent, report, test.clock.now());
  }
  await test.clock.advance(1_000);
  return test;
}

const isSentOff = (test: TestCoordinator) =>
  test.told.get('n2')?.some((each) => each.type === 'remove' && each.deleteFiles) === true;

/** n2 has left for so long under a leader that is over. */
async function hasLeft(forMs: number): Promise<number> {
  const first = await leader(BEGAN_AT_MS, 'n1', 'n2');
  first.coordinator.apply(planOf('n1'));
  await first.clock.advance(forMs);
  expect(isSentOff(first)).toBe(false);
  await first.coordinator.flush();
  return BEGAN_AT_MS + first.clock.now();
}

it('a node that has left has its grace once, however many leaders there are', async () => {
  let nowMs = await hasLeft(GRACE_MS / 2);
  for (let leads = 0; leads < 2; leads += 1) {
    const next = await leader(nowMs, 'n1');
    await next.clock.advance(GRACE_MS / 6 - 2_000);
    expect(isSentOff(next)).toBe(false);
    await next.coordinator.flush();
    nowMs += next.clock.now();
  }
  const last = await leader(nowMs, 'n1');
  await last.clock.advance(GRACE_MS / 6 + 5_000);
  expect(isSentOff(last)).toBe(true);
});

it('one that has left while nobody led has it from when the next leader sees it', async () => {
  const first = await leader(BEGAN_AT_MS, 'n1', 'n2');
  await first.coordinator.flush();
  const next = await leader(BEGAN_AT_MS + 10 * GRACE_MS, 'n1');
  await next.clock.advance(GRACE_MS - 5_000);
  expect(isSentOff(next)).toBe(false);
  await next.coordinator.flush();
  const last = await leader(BEGAN_AT_MS + 11 * GRACE_MS, 'n1');
  await last.clock.advance(8_000);
  expect(isSentOff(last)).toBe(true);
});

it('one that was back has it anew', async () => {
  const first = await leader(BEGAN_AT_MS, 'n1', 'n2');
  first.coordinator.apply(planOf('n1'));
  await first.clock.advance(GRACE_MS / 2);
  first.coordinator.apply(planOf('n1', 'n2'));
  await first.clock.advance(GRACE_MS);
  await first.coordinator.flush();
  expect([...stored.values()].flatMap(({ rows }) => rows)).toHaveLength(2);
  const next = await leader(BEGAN_AT_MS + 2 * GRACE_MS, 'n1');
  await next.clock.advance(GRACE_MS - 5_000);
  expect(isSentOff(next)).toBe(false);
});

it('one whose leader had another clock loses nothing sooner than that says', async () => {
  const nowMs = await hasLeft(GRACE_MS / 2);
  // Far behind: then it begins anew.
  const next = await leader(nowMs - 10 * GRACE_MS, 'n1');
  await next.clock.advance(GRACE_MS - 5_000);
  expect(isSentOff(next)).toBe(false);
  await next.clock.advance(10_000);
  expect(isSentOff(next)).toBe(true);
});
