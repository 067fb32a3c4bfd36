import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import { type Assignment, type AssignmentShard, SHARD_NODES } from '../store/assignments.ts';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { AssignmentWriter } from './assignmentWriter.ts';

function aRow(node: string, state: Assignment['progress']['state'] = 'ready', verifiedBytes = 5) {
  const received = { fromPeers: 5, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  const progress = { state, verifiedBytes, rateBytesPerSecond: 0, received };
  return { uid: 'u', epoch: 1, node, progress } satisfies Assignment;
}

let clock: FakeClock;
/** What the database was asked to do, in order. */
let asked: string[];
let fault: Error | undefined;
/** What the database works at, when it is slow. */
let slow: Promise<void> | undefined;
/** What an earlier leader has left. */
let stored: AssignmentShard[];
let writer: AssignmentWriter;

beforeEach(() => {
  clock = new FakeClock();
  asked = [];
  fault = undefined;
  slow = undefined;
  stored = [];
  const done = async (what: string) => {
    const failure = fault;
    asked.push(what);
    await slow;
    if (failure !== undefined) throw failure;
  };
  writer = new AssignmentWriter({
    assignments: {
      load: async () => {
        if (fault !== undefined) throw fault;
        return stored;
      },
      save: ({ uid, number, rows }) => {
        const each = rows.map(({ node, progress }) => `${node} ${progress.verifiedBytes}`);
        return done(`${uid}/${number}: ${each.join(', ')}`);
      },
      delete: (uid) => done(`delete ${uid}`),
    },
    clock,
    logger: createLogger({ silent: true }),
  });
});

async function saved(): Promise<string[]> {
  writer.save(() => true);
  await settle();
  return asked.splice(0);
}

describe('rows that a leader leaves behind', () => {
  it('are written before it is over, with those that are under way', async () => {
    writer.note(aRow('n1'));
    writer.save(() => true);
    await settle();
    writer.note(aRow('n2'));
    await writer.flush();
    expect(asked).toEqual(['u/0: n1 5', 'u/0: n1 5, n2 5']);
    await writer.flush();
    expect(asked).toHaveLength(2);
  });

  it('are all that is known, and changes of state first', async () => {
    for (const uid of ['u', 'v']) writer.note({ ...aRow('n1', 'transferring'), uid });
    await saved();
    writer.note(aRow('n1', 'transferring', 6));
    writer.note({ ...aRow('n1', 'ready', 6), uid: 'v' });
    await writer.flush();
    expect(asked).toEqual(['v/0: n1 6', 'u/0: n1 6']);
  });

  it('hold nobody up when they cannot be written', async () => {
    fault = new Error('the database is away');
    writer.note(aRow('n1'));
    await writer.flush();
    fault = undefined;
    asked = [];
    await writer.flush();
    expect(asked).toEqual([]);
  });
});

describe('what an earlier leader has left', () => {
  const shardOf = (number: number, ...nodes: string[]) => {
    return { uid: 'u', number, rows: nodes.map((node) => aRow(node, 'transferring', 1)) };
  };

  it('is read before anything of the distribution is written, and stays in its place', async () => {
    stored = [shardOf(0, 'n1'), shardOf(1, 'n2')];
    writer.note(aRow('n2', 'ready', 9));
    writer.note(aRow('n3'));
    expect(await saved()).toEqual(['u/0: n1 1, n3 5', 'u/1: n2 9']);
    expect(await writer.recall('u')).toHaveLength(2);
    writer.deleteNodes('u', ['n1']);
    expect(await saved()).toEqual(['u/0: n3 5']);
  });

  it('is not written over while it cannot be read', async () => {
    stored = [shardOf(0, 'n1')];
    fault = new Error('the database is away');
    await expect(writer.recall('u')).rejects.toThrow();
    writer.note(aRow('n2'));
    writer.deleteNodes('u', ['n1']);
    expect(await saved()).toEqual([]);
    fault = undefined;
    expect(await saved()).toEqual(['u/0: n2 5']);
  });

  it('loses the row that is in two shards', async () => {
    stored = [shardOf(0, 'n1'), shardOf(1, 'n1', 'n2')];
    await writer.recall('u');
    expect(await saved()).toEqual(['u/1: n2 1']);
  });
});

describe('while the database is slow or away', () => {
  it('rows do not pile up: one turn is under way, and the next takes the newest', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    slow = promise;
    for (let bytes = 0; bytes < 100; bytes += 1) {
      writer.note(aRow('n1', 'transferring', bytes));
      writer.note(aRow(`n${bytes}`, 'pending', bytes));
      writer.save(() => true);
      await settle();
    }
    expect(asked).toEqual(['u/0: n1 0, n0 0']);
    writer.note(aRow('n1', 'ready', 100));
    asked = [];
    resolve();
    await settle();
    await clock.advance(5_000);
    expect(await saved()).toEqual([expect.stringContaining('n1 100')]);
  });

  it('what could not be written is written when it is back, unless it is newer or gone by then', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    await writer.recall('u');
    slow = promise;
    fault = new Error('the database is away');
    for (const node of ['n1', 'n2', 'n3']) writer.note(aRow(node, 'transferring'));
    await saved();
    fault = undefined;
    writer.note(aRow('n2', 'transferring', 6));
    writer.deleteNodes('u', ['n3']);
    resolve();
    await settle();
    expect(asked).toEqual(['u/0: n1 5, n2 6']);
  });

  it('what it does late, over a newer row, does not stay', async () => {
    await writer.recall('u');
    fault = new Error('the database has not answered for 5 s');
    writer.note(aRow('n1', 'transferring'));
    await saved();
    fault = undefined;
    writer.note(aRow('n1', 'ready', 9));
    expect(await saved()).toEqual(['u/0: n1 9']);
    await clock.advance(30_000);
    expect(await saved()).toEqual(['u/0: n1 9']);
    await clock.advance(30_000);
    expect(await saved()).toEqual([]);
  });

  it('what fails costs a turn, and others go first in the next one', async () => {
    for (const uid of ['u', 'v']) await writer.recall(uid);
    fault = new Error('the database is away');
    for (const uid of ['u', 'v']) writer.note({ ...aRow('n1'), uid });
    expect(await saved()).toEqual(['u/0: n1 5']);
    fault = undefined;
    expect(await saved()).toEqual(['v/0: n1 5', 'u/0: n1 5']);
  });
});

describe('a node', () => {
  it('whose state changes is written every 5 seconds at most, unless it is urgent', async () => {
    writer.note(aRow('n1', 'pending'));
    expect(await saved()).toEqual(['u/0: n1 5']);
    writer.note(aRow('n1', 'transferring', 6));
    await clock.advance(4_000);
    expect(await saved()).toEqual([]);
    await clock.advance(1_000);
    expect(await saved()).toEqual(['u/0: n1 6']);
    writer.note(aRow('n1', 'ready', 7));
    writer.save(() => true, 'u');
    await settle();
    expect(asked).toEqual(['u/0: n1 7']);
  });

  it('whose state stays the same is written every 30 seconds, and at once when it changes', async () => {
    writer.note(aRow('n1', 'transferring', 1));
    expect(await saved()).toEqual(['u/0: n1 1']);
    for (let second = 2; second <= 60; second += 1) {
      await clock.advance(1_000);
      writer.note(aRow('n1', 'transferring', second));
      const isDue = second === 31;
      expect(await saved()).toEqual(isDue ? [`u/0: n1 ${second}`] : []);
    }
    writer.note(aRow('n1', 'ready', 60));
    expect(await saved()).toEqual(['u/0: n1 60']);
  });

  it('of which there is nothing new is not written again', async () => {
    writer.note(aRow('n1'));
    await saved();
    await clock.advance(300_000);
    writer.note(aRow('n1'));
    expect(await saved()).toEqual([]);
  });

  it('that comes back after its row was deleted has one again', async () => {
    writer.note(aRow('n1'));
    await saved();
    writer.deleteNodes('u', ['n1']);
    expect(await saved()).toEqual(['u/0: ']);
    writer.note(aRow('n1'));
    await clock.advance(5_000);
    expect(await saved()).toEqual(['u/0: n1 5']);
  });

  it('is written again by a replica that leads again', async () => {
    writer.note(aRow('n1'));
    await saved();
    writer.clear();
    writer.note(aRow('n1'));
    expect(await saved()).toEqual(['u/0: n1 5']);
  });

  it('has a place in another shard where one is full, and in the first with room after that', async () => {
    for (let node = 0; node < SHARD_NODES + 1; node += 1) writer.note(aRow(`n${node}`));
    expect((await saved()).map((what) => what.split(' ').length)).toEqual([1 + 2 * SHARD_NODES, 3]);
    writer.deleteNodes('u', ['n7']);
    writer.note(aRow('late'));
    expect(await saved()).toEqual([expect.stringMatching(/^u\/0: .*late 5$/)]);
  });
});

it('of a distribution that is deleted nothing is written later', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  slow = promise;
  writer.note(aRow('n1'));
  await saved();
  writer.note(aRow('n2'));
  writer.save(() => false);
  const deleted = writer.delete('u');
  resolve();
  await deleted;
  expect(asked).toEqual(['delete u']);
});
