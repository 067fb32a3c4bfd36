import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Namespace } from '../../policies/graves.ts';
import { FakeClock, settle } from '../../testing/fakeClock.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { aRecord } from '../../testing/objects.ts';
import { Graveyard } from './graveyard.ts';

const record = aRecord({ uid: 'old' });
const heir = { owner: 'new', name: 'again' };

let clock: FakeClock;
let data: FakeDataSide;
let nodes: Set<string>;
let namespaces: Map<string, Namespace>;
let graveyard: Graveyard;

beforeEach(async () => {
  clock = new FakeClock();
  data = new FakeDataSide();
  nodes = new Set(['n1']);
  namespaces = new Map([['ml', { uid: 'uid-of-ml', isGoing: false }]]);
  await data.save(record);
  graveyard = newGraveyard();
});

/** Of a leader, whose wall clock is so far ahead. */
function newGraveyard(aheadMs = 0): Graveyard {
  return new Graveyard({
    epochs: data,
    coordinator: data,
    nodeExists: (name) => nodes.has(name),
    namespaceOf: (name) => namespaces.get(name),
    clock,
    wallTime: () => new Date(1_800_000_000_000 + aheadMs + clock.now()).toISOString(),
    logger: createLogger({ silent: true }),
  });
}

async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 1_000) {
    await clock.advance(Math.min(left, 1_000));
    await settle();
  }
}

describe('a graveyard', () => {
  it('has the files deleted when the grace is over, and forgets them when they are gone', async () => {
    await graveyard.bury(record, 'model', 5_000);
    graveyard.start();
    await pass(4_000);
    expect(data.tombstones.size).toBe(0);
    await pass(2_000);
    expect(data.tombstones.get('old')).toBe(true);
    expect(await data.graves()).toMatchObject([{ uid: 'old', condemned: true }]);
    data.confirm('old');
    await pass(2_000);
    expect(data.records.size).toBe(0);
    expect(await data.graves()).toEqual([]);
  });

  it('gives them to the one that comes in their place meanwhile, and they stay', async () => {
    await graveyard.bury(record, 'model', 5_000);
    graveyard.start();
    expect(await graveyard.adopt(heir, 'other', 'model')).toBeUndefined();
    expect(await graveyard.adopt(heir, 'ml', 'model')).toMatchObject({
      uid: 'old',
      owner: 'new',
      name: 'again',
      epoch: record.epoch,
      unproven: true,
    });
    await pass(10_000);
    expect(data.tombstones.size).toBe(0);
    expect(await data.load('new')).toMatchObject({ uid: 'old' });
    expect(await data.load('old')).toBeUndefined();
  });

  it('gives them once, also when the database was not heard the first time', async () => {
    await graveyard.bury(record, 'model', 5_000);
    const { adopt } = data;
    data.adopt = async (...args) => {
      await adopt.apply(data, args);
      throw new Error('the connection broke');
    };
    await expect(graveyard.adopt(heir, 'ml', 'model')).rejects.toThrow('the connection broke');
    data.adopt = adopt;
    expect(await graveyard.adopt(heir, 'ml', 'model')).toMatchObject({ uid: 'old', owner: 'new' });
    expect(await graveyard.adopt(heir, 'ml', 'model')).toBeUndefined();
  });

  it('gives nobody what is going', async () => {
    await graveyard.bury(record, 'model', 1_000);
    graveyard.start();
    await pass(3_000);
    expect(await graveyard.adopt(heir, 'ml', 'model')).toBeUndefined();
    const other = aRecord({ uid: 'at-once' });
    await data.save(other);
    await graveyard.bury(other, 'model', 0);
    expect(await graveyard.adopt(heir, 'ml', 'model')).toBeUndefined();
  });

  it('gives nothing to a namespace that has the name of another one, and clears its path at once', async () => {
    await graveyard.bury(record, 'model', 3_600_000);
    expect(await data.graves()).toMatchObject([{ namespaceUid: 'uid-of-ml' }]);
    // Seen by the next leader only, as a copy that is behind would show it.
    await graveyard.stop();
    graveyard = newGraveyard();
    await graveyard.load();
    namespaces.set('ml', { uid: 'uid-of-another', isGoing: false });
    expect(await graveyard.adopt(heir, 'ml', 'model')).toBeUndefined();
    graveyard.start();
    await pass(2_000);
    expect(data.tombstones.get('old')).toBe(true);
  });

  it.each<[string, Namespace | undefined]>([
    ['is gone', undefined],
    ['is going', { uid: 'uid-of-ml', isGoing: true }],
    ['is another one of the name', { uid: 'uid-of-another', isGoing: false }],
  ])(
    'does not wait for a grace that nobody can use: the namespace %s',
    async (_what, namespace) => {
      await graveyard.bury(record, 'model', 3_600_000);
      graveyard.start();
      await pass(3_000);
      expect(data.tombstones.size).toBe(0);
      if (namespace === undefined) namespaces.delete('ml');
      else namespaces.set('ml', namespace);
      await pass(2_000);
      expect(data.tombstones.get('old')).toBe(true);
      expect(await data.graves()).toMatchObject([{ condemned: true }]);
      expect(await graveyard.adopt(heir, 'ml', 'model')).toBeUndefined();
      data.confirm('old');
      await pass(2_000);
      expect(data.records.size).toBe(0);
    },
  );

  it('of an earlier release waits for its grace, and is adopted, whatever the namespace', async () => {
    namespaces.clear();
    await graveyard.bury(record, 'model', 5_000);
    graveyard.start();
    await pass(3_000);
    expect(data.tombstones.size).toBe(0);
    namespaces.set('ml', { uid: 'uid-of-another', isGoing: false });
    expect(await graveyard.adopt(heir, 'ml', 'model')).toMatchObject({ uid: 'old' });
  });

  it('clears the way at once for what lies in the same folder, or around it', async () => {
    await graveyard.bury(record, 'model', 3_600_000);
    graveyard.start();
    expect(await graveyard.adopt(heir, 'ml', 'model/7b')).toBeUndefined();
    await pass(2_000);
    expect(data.tombstones.get('old')).toBe(true);
  });

  it('that was in the way goes on under the next leader, though its grace lasts', async () => {
    await graveyard.bury(record, 'model', 3_600_000);
    graveyard.start();
    await graveyard.adopt(heir, 'ml', 'model/7b');
    await pass(2_000);
    expect(data.tombstones.get('old')).toBe(true);
    await graveyard.stop();
    data.tombstones.clear();
    graveyard = newGraveyard();
    await graveyard.load();
    graveyard.start();
    await pass(2_000);
    expect(data.tombstones.get('old')).toBe(true);
    data.confirm('old');
    await pass(2_000);
    expect(data.records.size).toBe(0);
  });

  it('is what the leader before has left, and nothing starts before everybody was looked at', async () => {
    await graveyard.bury(record, 'model', 5_000);
    await graveyard.stop();
    await pass(10_000);
    graveyard = newGraveyard();
    await graveyard.load();
    await pass(10_000);
    expect(data.tombstones.size).toBe(0);
    expect(graveyard.graveOf('old')).toMatchObject({ uid: 'old', path: 'model' });
    graveyard.start();
    await pass(1_000);
    expect(data.tombstones.get('old')).toBe(true);
  });

  it.each([
    { clocks: 'ahead: the grace is as much shorter', aheadMs: 60_000 },
    { clocks: 'behind: the grace is as much longer', aheadMs: -60_000 },
  ])("goes by the next leader's clock, which is a minute $clocks", async ({ aheadMs }) => {
    await graveyard.bury(record, 'model', 600_000);
    await graveyard.stop();
    graveyard = newGraveyard(aheadMs);
    await graveyard.load();
    graveyard.start();
    await pass(600_000 - aheadMs - 1_000);
    expect(data.tombstones.size).toBe(0);
    await pass(2_000);
    expect(data.tombstones.get('old')).toBe(true);
  });

  it('of a database that was restored empty deletes nothing', async () => {
    await graveyard.bury(record, 'model', 1_000);
    await graveyard.stop();
    data.records.clear();
    data.plots.clear();
    graveyard = newGraveyard();
    await graveyard.load();
    graveyard.start();
    await pass(10_000);
    expect(data.tombstones.size).toBe(0);
  });

  it('deletes nothing that the database gives to somebody else', async () => {
    await graveyard.bury(record, 'model', 1_000);
    graveyard.start();
    await data.adopt('old', heir);
    await pass(10_000);
    expect(data.tombstones.size).toBe(0);
  });
});
