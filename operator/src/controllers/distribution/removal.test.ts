import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { FakeClock } from '../../testing/fakeClock.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { aRecord, aReport, aSpec } from '../../testing/objects.ts';
import { Graveyard } from './graveyard.ts';
import { Memory } from './memory.ts';
import { Removal } from './removal.ts';

const record = aRecord();
const { uid } = record;

let clock: FakeClock;
let data: FakeDataSide;
let memory: Memory;
let removal: Removal;

beforeEach(async () => {
  clock = new FakeClock();
  data = new FakeDataSide();
  await data.save(record);
  memory = new Memory(uid, record, clock.now());
  const logger = createLogger({ silent: true });
  const graveyard = new Graveyard({
    epochs: data,
    coordinator: data,
    nodeExists: () => true,
    namespaceOf: () => undefined,
    clock,
    wallTime: () => new Date(clock.now()).toISOString(),
    logger,
  });
  removal = new Removal({ epochs: data, coordinator: data, graveyard, clock, logger });
});

function deleted(spec: Parameters<typeof aSpec>[0]): Distribution {
  return { metadata: { uid }, spec: aSpec(spec) } as Distribution;
}

describe('a Distribution that is deleted', () => {
  it('with a grace leaves its files, and its row until they are gone', async () => {
    const distribution = deleted({ deletionGraceSeconds: 60 });
    expect(await removal.step('ml/llama', distribution, memory)).toBe(false);
    expect(data.tombstones.get(uid)).toBe(false);
    expect(data.plots.get(uid)).toEqual({ path: 'model', dueAtMs: 60_000, condemned: false });
    data.confirm(uid);
    expect(await removal.step('ml/llama', distribution, memory)).toBe(true);
    expect(data.records.has(uid)).toBe(true);
  });

  it('leaves files that failed their digest for its grace, and to no heir', async () => {
    const error = { reason: 'DigestMismatch', message: 'because' };
    data.report(uid, [aReport('n1', { state: 'failed', error })], { epoch: record.epoch });
    const distribution = deleted({ deletionGraceSeconds: 60 });
    expect(await removal.step('ml/llama', distribution, memory)).toBe(false);
    expect(data.tombstones.get(uid)).toBe(false);
    expect(data.plots.get(uid)).toEqual({ path: 'model', dueAtMs: 60_000, condemned: true });
  });

  it('without one is gone when its files are', async () => {
    const distribution = deleted({ deletionGraceSeconds: 0 });
    expect(await removal.step('ml/llama', distribution, memory)).toBe(false);
    expect(data.tombstones.get(uid)).toBe(true);
    expect(data.plots.get(uid)).toMatchObject({ condemned: true });
    data.confirm(uid);
    expect(await removal.step('ml/llama', distribution, memory)).toBe(true);
    expect(data.records.size + data.plots.size).toBe(0);
  });

  it('may go in a minute where a node does not answer, whose files are remembered', async () => {
    const distribution = deleted({ deletionGraceSeconds: 0 });
    expect(await removal.step('ml/llama', distribution, memory)).toBe(false);
    await clock.advance(59_999);
    expect(await removal.step('ml/llama', distribution, memory)).toBe(false);
    await clock.advance(1);
    expect(await removal.step('ml/llama', distribution, memory)).toBe(true);
    expect(data.plots.has(uid)).toBe(true);
  });

  it('keeps the grave for a node that is away, also when nobody else is waited for', async () => {
    const distribution = deleted({ deletionGraceSeconds: 0 });
    data.removed = () => true;
    data.missing = () => ['away'];
    expect(await removal.step('ml/llama', distribution, memory)).toBe(true);
    expect(data.plots.get(uid)).toMatchObject({ condemned: true });
    data.missing = () => [];
    expect(await removal.step('ml/llama', distribution, memory)).toBe(true);
    expect(data.plots.has(uid)).toBe(false);
  });

  it.each([
    ['Delete', 60],
    ['Delete', 0],
    ['Retain', 60],
  ] as const)(
    'with %s and a grace of %d s waits a minute for a database that is away, and leaves its files',
    async (deletionPolicy, deletionGraceSeconds) => {
      const away = () => Promise.reject(new Error('no server'));
      data.bury = away;
      data.delete = away;
      const distribution = deleted({ deletionPolicy, deletionGraceSeconds });
      data.confirm(uid);
      await expect(removal.step('ml/llama', distribution, memory)).rejects.toThrow('no server');
      await clock.advance(60_000);
      expect(await removal.step('ml/llama', distribution, memory)).toBe(true);
      expect(data.tombstones.get(uid) ?? false).toBe(false);
    },
  );

  it('with Retain keeps its files for good, and is forgotten', async () => {
    const distribution = deleted({ deletionPolicy: 'Retain' });
    data.confirm(uid);
    expect(await removal.step('ml/llama', distribution, memory)).toBe(true);
    expect(data.tombstones.get(uid)).toBe(false);
    expect(data.records.size + data.plots.size).toBe(0);
  });
});
