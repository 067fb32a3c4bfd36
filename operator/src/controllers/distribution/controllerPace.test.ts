import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { KubeError } from '../../kube/client.ts';
import type { NodeObject } from '../../kube/objects.ts';
import { controllerDependencies } from '../../testing/controllerDependencies.ts';
import { FakeClock, settle } from '../../testing/fakeClock.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { aReport, aSpec } from '../../testing/objects.ts';
import { DistributionController } from './controller.ts';

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
/** What others do while the status is written. */
let meanwhile: () => void;
let isEchoLate: boolean;
let reconciled: number;
let relaysChanged: () => void;

beforeEach(async () => {
  clock = new FakeClock();
  data = new FakeDataSide();
  looks = 0;
  triesAtMs = [];
  refuse = () => {};
  meanwhile = () => {};
  isEchoLate = false;
  reconciled = 0;
  nodes = new Map(['n1', 'n2'].map((name) => [name, aNode(name)]));
  distributions = new Map();
  const progress = data.progress.bind(data);
  data.progress = (uid) => {
    looks += 1;
    return progress(uid);
  };
  const change = {
    nodes: { get: (name: string) => nodes.get(name), list: () => nodes.values() },
    api: {
      ensureFinalizer: async () => {},
      dropFinalizer: async () => {},
      readCredentials: async () => ({}),
      readAnew: async () => distributions.get(KEY),
      writeStatus: async (_: Distribution, { status }: { status: DistributionStatus }) => {
        triesAtMs.push(clock.now());
        refuse();
        meanwhile();
        const tell = edit({ status }, undefined, {}, isEchoLate);
        const written = distributions.get(KEY);
        await settle();
        if (isEchoLate) clock.setTimer(100, tell);
        return written;
      },
    },
    fleet: {
      setDemand: () => {},
      relayStates: () => [],
      onChange: (listener: () => void) => {
        relaysChanged = listener;
      },
    },
    onReconciled: () => {
      reconciled += 1;
    },
  };
  controller = new DistributionController(
    controllerDependencies({ clock, data, objects: distributions }, change),
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

/** As the reflector tells of it: at once, or when it is called. */
function edit(
  change: Partial<Distribution>,
  generation = distributions.get(KEY)?.metadata.generation ?? 1,
  meta: Partial<Distribution['metadata']> = {},
  isLate = false,
): () => void {
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
    ...meta,
  };
  const after = { spec: aSpec(), ...before, ...change, metadata } as unknown as Distribution;
  distributions.set(KEY, after);
  const tell = () => controller.changed(after, before);
  if (!isLate) tell();
  return tell;
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
    expect(triesAtMs.length).toBeLessThan(error().code === 'Conflict' ? 62 : 16);
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

describe('a new source', () => {
  it('costs no more looks while its origin is asked, however much is reported', async () => {
    data.resolveSource = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    edit({ spec: aSpec({ source: { url: 'http://silent.example.com/file.bin' } }) }, 2);
    await settle();
    reconciled = 0;
    await transfer(200);
    expect(reconciled).toBe(0);
    await transfer(100);
    expect(reconciled).toBe(1);
  });
});

describe('relays that come or go', () => {
  it('are looked at at once, but for what has failed and waits', async () => {
    reconciled = 0;
    relaysChanged();
    await clock.advance(0);
    expect(reconciled).toBe(1);
    refuse = () => {
      throw new KubeError('ServerError', 500, 'failed');
    };
    data.report(UID, [aReport('n1', { state: 'failed' })]);
    await clock.advance(1_000);
    expect(reconciled).toBe(2);
    relaysChanged();
    await clock.advance(0);
    expect(reconciled).toBe(2);
  });
});

it('a node that gets the label of the selector is served, and is not when it loses it', async () => {
  edit({ spec: aSpec({ target: { nodeSelector: { gpu: 'yes' } } }) }, 2);
  await clock.advance(1_000);
  const served = () => data.plans.get(UID)?.nodes.map(({ name }) => name);
  expect(served()).toEqual([]);
  for (const labels of [{ gpu: 'yes' }, { gpu: 'no' }]) {
    const before = nodes.get('n1');
    nodes.set('n1', aNode('n1', labels));
    controller.nodeChanged(nodes.get('n1'), before);
    await clock.advance(1_000);
    expect(served()).toEqual(labels.gpu === 'yes' ? ['n1'] : []);
  }
});

describe('a status that was written', () => {
  /** Reconciliations within three seconds of a report that changes the status. */
  async function afterReport(verifiedBytes: number): Promise<number> {
    const tries = triesAtMs.length;
    reconciled = 0;
    data.report(UID, [aReport('n1', { state: verifiedBytes === 0 ? 'failed' : 'ready' })]);
    await clock.advance(3_000);
    expect(triesAtMs).toHaveLength(tries + 1);
    return reconciled;
  }

  it.each([
    ['before the write is answered', false],
    ['after it', true],
  ])('is not looked at when it comes back %s', async (_when, isLate) => {
    isEchoLate = isLate;
    expect(await afterReport(0)).toBe(1);
    expect(await afterReport(1)).toBe(1);
  });

  it('is looked at when somebody else has changed something while it was written', async () => {
    meanwhile = () => edit({ status: {} as DistributionStatus });
    expect(await afterReport(0)).toBe(2);
  });

  it.each<[string, () => void]>([
    ['the status', () => edit({ status: {} as DistributionStatus })],
    ['a label', () => edit({}, undefined, { labels: { a: 'b' } })],
    ['an annotation', () => edit({}, undefined, { annotations: { a: 'b' } })],
    ['the finalizers', () => edit({}, undefined, { finalizers: [] })],
    ['the spec', () => edit({ spec: aSpec({ priority: 9 }) }, 2)],
  ])('is looked at, once, when somebody else changes %s', async (_what, change) => {
    await afterReport(0);
    reconciled = 0;
    change();
    await clock.advance(10);
    await clock.advance(0);
    expect(reconciled).toBe(1);
  });
});
