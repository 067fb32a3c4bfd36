import { describe, expect, it } from 'vitest';
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { KubeError } from '../../kube/client.ts';
import type { DistributionInput } from '../../policies/distribution.ts';
import { FakeClock } from '../../testing/fakeClock.ts';
import { aProgress, aRecord, aReport, aSpec, troubles } from '../../testing/objects.ts';
import { aTarget } from '../../testing/statusInput.ts';
import { Memory } from './memory.ts';
import { StatusWriter } from './statusWriter.ts';

const never = new AbortController().signal;

function setUp() {
  const clock = new FakeClock();
  const written: DistributionStatus[] = [];
  /** At the API server; the copy that is watched follows when a test says so. */
  let kept = {
    metadata: { uid: 'u', generation: 1, resourceVersion: '9' },
    status: undefined as DistributionStatus | undefined,
  };
  /** Fields of others stay when ours are applied. */
  const theirs: Partial<DistributionStatus> = {};
  const keep = (status: DistributionStatus | undefined) => {
    const resourceVersion = String(Number(kept.metadata.resourceVersion) + 1);
    kept = { metadata: { ...kept.metadata, resourceVersion }, status };
    return kept as Distribution;
  };
  const told: string[] = [];
  const node = { reported: aReport('n1') };
  const dependencies = {
    clock,
    api: {
      readAnew: async () => kept as Distribution,
      writeStatus: async (
        _: Distribution,
        { status, resourceVersion }: { status: DistributionStatus; resourceVersion: string },
      ) => {
        if (resourceVersion !== kept.metadata.resourceVersion) {
          throw new KubeError('Conflict', 409, 'changed');
        }
        written.push(status);
        return keep({ ...theirs, ...status });
      },
    },
    coordinator: { progress: () => aProgress([node.reported]) },
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
  let distribution = { ...kept, spec } as Distribution;
  const watch = () => {
    distribution = { ...kept, spec } as Distribution;
  };
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
      nodes: [aTarget('n1')],
      refusal: undefined,
      ...overrides,
    };
    return writer.write(distribution, memory, input, never);
  };
  return { clock, keep, node, spec, theirs, told, watch, write, written };
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

  it('tells once of a node that fails again at each try', async () => {
    const { clock, node, told, write, written } = setUp();
    const error = { reason: 'DiskFull', message: 'no space left on device' };
    const failed = aReport('n1', { state: 'failed', error });
    for (const reported of [failed, aReport('n1'), failed, aReport('n1'), failed]) {
      node.reported = reported;
      await write();
      await clock.advance(2000);
    }
    expect(told).toEqual(['EpochStarted', 'DiskFull']);
    expect(written).toHaveLength(1);
  });

  it.each([false, true])(
    'writes nothing when nothing has changed, however often it looks (at what is watched: %s)',
    async (isWatched) => {
      const { clock, watch, write, written } = setUp();
      for (let look = 0; look < 5; look += 1) {
        await write();
        if (isWatched) watch();
        await clock.advance(2000);
      }
      expect(written).toHaveLength(1);
    },
  );

  it('sets right what somebody else has written, once it is seen', async () => {
    const { clock, keep, watch, write, written } = setUp();
    await write();
    keep({ observedGeneration: 7 });
    await clock.advance(2000);
    await write();
    expect(written).toHaveLength(1);
    watch();
    await write();
    expect(written).toHaveLength(2);
    expect(written[1]).toEqual(written[0]);
  });

  it('writes nothing over what it has not seen, and looks again', async () => {
    const { clock, keep, write, written } = setUp();
    await write();
    keep({ observedGeneration: 7 });
    await clock.advance(2000);
    const result = await write({ sourceChanged: true });
    expect(result.dueInMs).toBe(1000);
    expect(written).toHaveLength(1);
    await clock.advance(1000);
    await write({ sourceChanged: true });
    expect(written).toHaveLength(2);
  });

  it('leaves alone what somebody else adds for good', async () => {
    const { clock, keep, theirs, watch, write, written } = setUp();
    await write();
    Object.assign(theirs, { completionTime: '2020-01-01T00:00:00Z' });
    keep({ ...theirs, ...written[0]! });
    for (let look = 0; look < 5; look += 1) {
      watch();
      await clock.advance(2000);
      await write();
    }
    expect(written).toHaveLength(2);
  });

  const stalled = (status: DistributionStatus | undefined) =>
    status?.conditions?.find(({ type }) => type === 'Stalled')?.reason;

  it('counts the time in which nothing moves from when something may move', async () => {
    const { clock, spec, write, written } = setUp();
    const suspended = { spec: { ...spec, suspend: true } };
    await write();
    for (const ms of [1_000, 3_600_000]) {
      await clock.advance(ms);
      await write(suspended);
    }
    await clock.advance(1_000);
    await write();
    expect(stalled(written.at(-1))).toBeUndefined();
    await clock.advance(601_000);
    await write();
    expect(stalled(written.at(-1))).toBe('ProgressDeadlineExceeded');
  });

  it('counts anew when a node is waited for that was not', async () => {
    const { clock, write, written } = setUp();
    const cordoned = { nodes: [aTarget('n1', { unschedulable: true })] };
    await write(cordoned);
    await clock.advance(3_600_000);
    await write(cordoned);
    await clock.advance(1_000);
    await write();
    expect(stalled(written.at(-1))).toBeUndefined();
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
