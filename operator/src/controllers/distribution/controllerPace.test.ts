import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { KubeError } from '../../kube/client.ts';
import type { NodeObject } from '../../kube/objects.ts';
import { FakeClock, settle, steadyRandom } from '../../testing/fakeClock.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { aReport, aSpec } from '../../testing/objects.ts';
import { DistributionController, type DistributionControllerDependencies } from './controller.ts';

const UID = 'uid-1';
const KEY = 'ml/llama';

let clock: FakeClock;
let data: FakeDataSide;
let controller: DistributionController;
let distributions: Map<string, Distribution>;
let nodes: Map<string, NodeObject>;
let looks: number;
/** Each time that the status was to be written. */
let triesAtMs: number[];
let refuse: () => void;

beforeEach(async () => {
  clock = new FakeClock();
  data = new FakeDataSide();
  looks = 0;
  triesAtMs = [];
  refuse = () => {};
  nodes = new Map(['n1', 'n2'].map((name) => [name, aNode(name)]));
  distributions = new Map();
  const progress = data.progress.bind(data);
  data.progress = (uid) => {
    looks += 1;
    return progress(uid);
  };
  const dependencies = {
    distributions: {
      get: (key: string) => distributions.get(key),
      list: () => distributions.values(),
      indexed: () => distributions.values(),
    },
    nodes: { get: (name: string) => nodes.get(name), list: () => nodes.values() },
    api: {
      ensureFinalizer: async () => {},
      dropFinalizer: async () => {},
      readCredentials: async () => ({}),
      readAnew: async () => distributions.get(KEY),
      writeStatus: async (_: Distribution, { status }: { status: DistributionStatus }) => {
        triesAtMs.push(clock.now());
        refuse();
        edit({ status });
        return distributions.get(KEY);
      },
    },
    coordinator: data,
    epochs: data,
    troubles: data.troubles,
    fleet: { setDemand: () => {}, relayStates: () => [], onChange: () => {} },
    workloads: {
      want: () => {},
      forget: () => {},
      primed: () => {},
      conditions: () => [],
      onChange: () => {},
    },
    events: { record: () => {} },
    clock,
    random: steadyRandom,
    wallTime: () => new Date(1_800_000_000_000 + clock.now()).toISOString(),
    logger: createLogger({ silent: true }),
  };
  controller = new DistributionController(
    dependencies as unknown as DistributionControllerDependencies,
  );
  edit({});
  await controller.start();
  await settle();
  await clock.advance(5_000);
});

afterEach(() => controller.stop());

function aNode(name: string, labels: Record<string, string> = {}): NodeObject {
  return { metadata: { name, uid: `uid-${name}`, resourceVersion: '1', labels } };
}

/** As the reflector would tell of it. */
function edit(change: Partial<Distribution>, generation = 1): void {
  const before = distributions.get(KEY);
  const version = Number(before?.metadata.resourceVersion ?? 0) + 1;
  const metadata = {
    namespace: 'ml',
    name: 'llama',
    uid: UID,
    generation,
    creationTimestamp: '2026-01-01T00:00:00Z',
    finalizers: ['sluice.dev/distribution'],
    resourceVersion: String(version),
  };
  const after = { spec: aSpec(), ...before, ...change, metadata } as unknown as Distribution;
  distributions.set(KEY, after);
  controller.changed(after, before);
}

/** Bytes move on a node every 50 ms. */
async function transfer(forMs: number): Promise<void> {
  const endMs = clock.now() + forMs;
  while (clock.now() < endMs) {
    data.report(UID, [aReport('n1', { verifiedBytes: clock.now() })]);
    await clock.advance(50);
  }
}

describe('a status that the API server does not take', () => {
  it.each([
    ['is asked too much', () => new KubeError('TooManyRequests', 429, 'too many')],
    ['has no right', () => new KubeError('Forbidden', 403, 'forbidden')],
    ['finds it invalid', () => new KubeError('Invalid', 422, 'invalid')],
    ['fails', () => new KubeError('ServerError', 500, 'failed')],
    ['has another one of this name', () => new KubeError('Conflict', 409, 'another')],
  ])('is tried ever more rarely, however much is reported: it %s', async (_why, error) => {
    refuse = () => {
      throw error();
    };
    triesAtMs = [];
    await transfer(60_000);
    const gapsMs = triesAtMs.slice(1).map((atMs, index) => atMs - triesAtMs[index]!);
    expect(Math.min(...gapsMs)).toBeGreaterThanOrEqual(error().code === 'Conflict' ? 1000 : 150);
    expect(triesAtMs.length).toBeLessThan(error().code === 'Conflict' ? 62 : 12);
    expect(triesAtMs.length).toBeGreaterThan(4);
  });

  it('is not tried before the server says so, but for an edit', async () => {
    refuse = () => {
      throw new KubeError('TooManyRequests', 429, 'too many', { retryAfterMs: 30_000 });
    };
    triesAtMs = [];
    await transfer(20_000);
    expect(triesAtMs).toHaveLength(1);
    edit({ spec: aSpec({ priority: 5 }) }, 2);
    await transfer(1_000);
    expect(triesAtMs).toHaveLength(2);
  });
});

describe('reports that change nothing in the status', () => {
  it('are looked at once a second', async () => {
    data.report(UID, [aReport('n1')]);
    await clock.advance(3_000);
    const tries = triesAtMs.length;
    const before = looks;
    data.report(UID, [aReport('n1')]);
    await clock.advance(0);
    const perLook = looks - before;
    expect(perLook).toBeGreaterThan(0);
    looks = 0;
    for (let report = 0; report < 200; report += 1) {
      data.report(UID, [aReport('n1')]);
      await clock.advance(50);
    }
    expect(looks / perLook).toBeLessThanOrEqual(11);
    expect(looks / perLook).toBeGreaterThanOrEqual(9);
    expect(triesAtMs).toHaveLength(tries);
  });
});
