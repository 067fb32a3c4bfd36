import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { FakeClock } from '../../testing/fakeClock.ts';
import { FINALIZER } from './api.ts';
import { Overdue, type OverdueDependencies } from './overdue.ts';

const START_MS = Date.parse('2026-01-01T00:00:00Z');

let clock: FakeClock;
let objects: Map<string, Distribution>;
let letGo: string[];
let isAway: boolean;
let refuses: string | undefined;
let overdue: Overdue;

beforeEach(() => {
  clock = new FakeClock();
  objects = new Map();
  letGo = [];
  isAway = true;
  refuses = undefined;
  const dependencies = {
    distributions: { list: () => objects.values() },
    api: {
      dropFinalizer: async ({ metadata: { name } }: Distribution) => {
        if (name === refuses) throw new Error('not now');
        letGo.push(name);
        objects.delete(name);
      },
    },
    troubles: { isDatabaseAway: () => isAway },
    clock,
    wallTime: () => new Date(START_MS + clock.now()).toISOString(),
    logger: createLogger({ silent: true }),
  };
  overdue = new Overdue(dependencies as unknown as OverdueDependencies);
});

function make(name: string, deletedAtMs?: number, finalizers = [FINALIZER]): void {
  const deletionTimestamp = deletedAtMs && new Date(START_MS + deletedAtMs).toISOString();
  const metadata = {
    name,
    namespace: 'ml',
    finalizers,
    ...(deletionTimestamp && { deletionTimestamp }),
  };
  objects.set(name, { metadata } as unknown as Distribution);
}

describe('while nobody can lead', () => {
  it('what was deleted a minute ago is let go of, and nothing else', async () => {
    make('alive');
    make('deleted', 30_000);
    make('before', -600_000);
    make('of others', -600_000, ['example.com/theirs']);
    overdue.start();
    await clock.advance(59_000);
    expect(letGo, 'the database has its minute').toEqual([]);
    await clock.advance(6_000);
    expect(letGo).toEqual(['before']);
    await clock.advance(24_000);
    expect(letGo).toEqual(['before']);
    await clock.advance(6_000);
    expect(letGo).toEqual(['before', 'deleted']);
    await clock.advance(600_000);
    expect(letGo).toHaveLength(2);
    await overdue.stop();
  });

  it('the database has its minute each time', async () => {
    make('before', -600_000);
    overdue.start();
    await clock.advance(40_000);
    await overdue.stop();
    await clock.advance(600_000);
    overdue.start();
    await clock.advance(59_000);
    expect(letGo).toEqual([]);
    await clock.advance(6_000);
    expect(letGo).toEqual(['before']);
    await overdue.stop();
  });

  it('one that the API server does not let go is tried again, and keeps no other', async () => {
    make('first', -600_000);
    make('second', -600_000);
    refuses = 'first';
    overdue.start();
    await clock.advance(80_000);
    expect(letGo).toEqual(['second']);
    refuses = undefined;
    await clock.advance(5_000);
    expect(letGo).toEqual(['second', 'first']);
    await overdue.stop();
  });

  it('nothing is let go of that a leader with a database is about to see to', async () => {
    make('deleted', -600_000);
    isAway = false;
    overdue.start();
    await clock.advance(80_000);
    await overdue.stop();
    isAway = true;
    await clock.advance(60_000);
    expect(letGo).toEqual([]);
  });
});
