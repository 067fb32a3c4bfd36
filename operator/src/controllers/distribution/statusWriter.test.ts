import { describe, expect, it } from 'vitest';
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import type { DistributionInput } from '../../policies/distribution.ts';
import { FakeClock } from '../../testing/fakeClock.ts';
import { aProgress, aRecord, aReport, aSpec, troubles } from '../../testing/objects.ts';
import { Memory } from './memory.ts';
import { StatusWriter } from './statusWriter.ts';

const never = new AbortController().signal;

function setUp() {
  const clock = new FakeClock();
  const written: DistributionStatus[] = [];
  const told: string[] = [];
  const dependencies = {
    clock,
    api: {
      writeStatus: async (_: Distribution, status: DistributionStatus) => {
        written.push(status);
      },
    },
    coordinator: { progress: () => aProgress([aReport('n1')]) },
    events: { record: (_: object, { reason }: { reason: string }) => told.push(reason) },
    fleet: { relayStates: () => [] },
    troubles: troubles(),
    workloads: { conditions: () => [] },
    wallTime: () => '2026-01-01T00:10:00Z',
  };
  const writer = new StatusWriter(
    dependencies as unknown as ConstructorParameters<typeof StatusWriter>[0],
  );
  const record = aRecord();
  const memory = new Memory(record.uid, record, clock.now());
  const spec = aSpec({ source: { url: record.url } });
  const distribution = { metadata: { generation: 1 }, spec } as Distribution;
  const write = (overrides: Partial<DistributionInput> = {}) => {
    const input: DistributionInput = {
      uid: record.uid,
      name: record.name,
      createdAt: '2026-01-01T00:00:00Z',
      deleting: false,
      spec,
      neighbours: [],
      record,
      sourceChanged: false,
      wrongMirrors: [],
      failure: undefined,
      nodes: [{ name: 'n1', domain: 'a', unschedulable: false }],
      refusal: undefined,
      ...overrides,
    };
    return writer.write(distribution, memory, input, never);
  };
  return { clock, told, write, written };
}

describe('the writer of a status', () => {
  it('writes at most once a second, and the newest when it may', async () => {
    const { clock, write, written } = setUp();
    await write();
    expect((await write({ sourceChanged: true })).dueInMs).toBe(1000);
    await clock.advance(1000);
    await write({ sourceChanged: true });
    expect(written).toHaveLength(2);
  });

  it('tells what is over again before it could be written', async () => {
    const { clock, told, write, written } = setUp();
    await write();
    told.length = 0;
    await clock.advance(200);
    await write({ sourceChanged: true });
    await write();
    expect(told).toEqual(['SourceChanged']);
    expect(written).toHaveLength(1);
  });

  it('writes nothing when nothing has changed, however often it looks', async () => {
    const { clock, write, written } = setUp();
    for (let look = 0; look < 5; look += 1) {
      await write();
      await clock.advance(2000);
    }
    expect(written).toHaveLength(1);
  });

  it('tells a turn once, however often it looks', async () => {
    const { clock, told, write } = setUp();
    await write();
    told.length = 0;
    for (let look = 0; look < 5; look += 1) {
      await write({ sourceChanged: true });
      await clock.advance(400);
    }
    expect(told).toEqual(['SourceChanged']);
  });
});
