import { beforeEach, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { settle } from '../../testing/fakeClock.ts';
import { aRecord } from '../../testing/objects.ts';
import { Completion } from './completion.ts';
import { Memory } from './memory.ts';

const NOW = '2026-01-01T00:00:00Z';

let saving: Map<string, PromiseWithResolvers<void>>;
let saved: string[];
let failed: string[];
let completion: Completion;

beforeEach(() => {
  saving = new Map();
  saved = [];
  failed = [];
  completion = new Completion({
    epochs: {
      async saveCompleted(uid) {
        const save = Promise.withResolvers<void>();
        saving.set(uid, save);
        await save.promise.finally(() => saving.delete(uid));
        saved.push(uid);
      },
    },
    wallTime: () => NOW,
    logger: createLogger({ silent: true }),
    failed: (key) => failed.push(key),
  });
});

/** Users were told that it is delivered. */
function delivered(uid: string): Memory {
  const memory = new Memory(uid, aRecord({ uid }), 0);
  const epoch = { number: memory.record?.epoch };
  memory.told = {
    epoch,
    conditions: [{ type: 'Ready', status: 'True', reason: 'Delivered' }],
  } as DistributionStatus;
  completion.look(uid, memory);
  return memory;
}

async function answer(uid: string, error?: Error): Promise<void> {
  if (error === undefined) saving.get(uid)?.resolve();
  else saving.get(uid)?.reject(error);
  await settle();
}

it('is kept of two at a time, in their order, however many end at once', async () => {
  const memories = ['a', 'b', 'c', 'd'].map(delivered);
  expect(memories.map(({ record }) => record?.completedAt)).toEqual([NOW, NOW, NOW, NOW]);
  expect([...saving.keys()]).toEqual(['a', 'b']);
  await answer('b');
  expect([...saving.keys()]).toEqual(['a', 'c']);
  await answer('a');
  await answer('c');
  await answer('d');
  expect(saved).toEqual(['b', 'a', 'c', 'd']);
  expect(failed).toEqual([]);
});

it('is looked at again when the database does not take it, and keeps nobody else waiting', async () => {
  const [a] = ['a', 'b', 'c'].map(delivered);
  await answer('a', new Error('away'));
  expect(a?.record?.completedAt).toBeUndefined();
  expect(failed).toEqual(['a']);
  expect([...saving.keys()]).toEqual(['b', 'c']);
  completion.look('a', a as Memory);
  await answer('b');
  await answer('a');
  expect(saved).toEqual(['b', 'a']);
});

it('is written no more where another replica leads', async () => {
  ['a', 'b', 'c'].map(delivered);
  await completion.stop();
  await answer('a');
  expect([...saving.keys()]).toEqual(['b']);
});
