import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { KubeError } from '../../kube/client.ts';
import type { NodeObject } from '../../kube/objects.ts';
import { keyOf } from '../../kube/reflector.ts';
import {
  controllerDependencies,
  copyOf,
  WALL_START_MS,
} from '../../testing/controllerDependencies.ts';
import { FakeClock, settle } from '../../testing/fakeClock.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { noWorkloads } from '../../testing/noWorkloads.ts';
import { aReport, aSpec, troubles } from '../../testing/objects.ts';
import type { DistributionApi } from './api.ts';
import { DistributionController } from './controller.ts';
import { CredentialsError } from './credentials.ts';

let clock: FakeClock;
let data: FakeDataSide;
let objects: Map<string, Distribution>;
let statuses: Map<string, DistributionStatus>;
let api: DistributionApi;
let controller: DistributionController;
/** Claims for pods: the reason of each, and which were let go. */
let claims: { reason: string; released: string[]; changed: (uid: string) => void };
let isDatabaseAway: boolean;
/** What the copy lacks comes. */
let refreshed: () => void;

beforeEach(async () => {
  clock = new FakeClock();
  data = new FakeDataSide();
  objects = new Map();
  statuses = new Map();
  claims = { reason: 'VolumePending', released: [], changed: () => {} };
  isDatabaseAway = false;
  refreshed = () => {};
  api = {
    ensureFinalizer: async () => undefined,
    readAnew: async ({ metadata }) => objects.get(`ml/${metadata.name}`),
    dropFinalizer: async (distribution) => gone(distribution.metadata.name),
    writeStatus: async (distribution, { status }) => {
      const key = keyOf(distribution);
      const object = objects.get(key);
      statuses.set(distribution.metadata.name, status);
      if (object !== undefined) objects.set(key, { ...object, status });
      return distribution;
    },
    readCredentials: async () => ({}),
  };
  controller = newController();
  await controller.start();
});
afterEach(() => controller.stop());

/** Of a leader. */
function newController(): DistributionController {
  const node = { metadata: { name: 'n1', uid: 'uid-of-n1', labels: {} } } as NodeObject;
  const change = {
    distributions: { ...copyOf(objects), refresh: async () => refreshed() },
    nodes: { list: () => [node], get: () => node },
    api,
    troubles: troubles({ isDatabaseAway: () => isDatabaseAway }),
    workloads: {
      ...noWorkloads,
      release: async ({ uid }: { uid: string }) => claims.released.push(uid),
      conditions: () => [
        { type: 'VolumeAvailable', status: 'False', reason: claims.reason, message: 'because' },
      ],
      onChange: (listener: (uid: string) => void) => {
        claims.changed = listener;
      },
    },
  };
  return new DistributionController(controllerDependencies({ clock, data, objects }, change));
}

/** What the watch brings of it. */
function seen(name: string, spec: Parameters<typeof aSpec>[0], more: object = {}): void {
  const metadata = {
    name,
    namespace: 'ml',
    uid: `uid-${name}`,
    resourceVersion: '1',
    generation: 1,
    creationTimestamp: '2026-01-01T00:00:00Z',
    finalizers: ['sluice.dev/distribution'],
    ...more,
  };
  const before = objects.get(`ml/${name}`);
  const status = before?.status;
  const object = { metadata, spec: aSpec(spec), status } as unknown as Distribution;
  objects.set(keyOf(object), object);
  controller.changed(object, before);
}

function gone(name: string): void {
  const before = objects.get(`ml/${name}`);
  objects.delete(`ml/${name}`);
  controller.changed(undefined, before);
}

const deleted = { deletionTimestamp: '2026-01-02T00:00:00Z' };

async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 1_000) {
    await clock.advance(Math.min(left, 1_000));
    await settle();
  }
}

/** What the one before has applied is known no more. */
async function nextLeader(forMs: number): Promise<void> {
  await controller.stop();
  data.plans.clear();
  controller = newController();
  await controller.start();
  await pass(forMs);
}

describe('a Distribution whose URL is none', () => {
  it('is held with a reason, and can be deleted', async () => {
    seen('first', {});
    await pass(1_000);
    const url = 'https://cdn.example.com:99999/f';
    seen('first', { source: { url } }, { resourceVersion: '2', generation: 2 });
    await pass(2_000);
    const stalled = statuses.get('first')?.conditions?.find(({ type }) => type === 'Stalled');
    expect(stalled).toMatchObject({ reason: 'InvalidSource' });
    expect(stalled?.message).toContain('has a host or port that cannot be; write');
    data.confirm('uid-first');
    seen('first', { source: { url } }, deleted);
    await pass(2_000);
    expect(objects.size).toBe(0);
  });
});

describe('a Distribution of more than one epoch can have', () => {
  const TIB = 2 ** 40;
  const conditionsOf = (name: string) => statuses.get(name)?.conditions ?? [];

  it('stalls with its bytes, the bound and what to do, and no process hears of it', async () => {
    data.source = () => ({ ...FakeDataSide.source(), sizeBytes: TIB + 1 });
    seen('first', {});
    await pass(2_000);
    for (const type of ['Ready', 'Stalled', 'SourceResolved']) {
      const found = conditionsOf('first').find((condition) => condition.type === type);
      expect(found?.reason, type).toBe('SourceTooLarge');
    }
    const { message } = conditionsOf('first').find(({ type }) => type === 'Ready') ?? {};
    expect(message).toContain(`${TIB + 1} bytes in 65537 pieces`);
    expect(message).toContain('at most 65536 pieces (1 TiB)');
    expect(message).toMatch(/; make parts of it, and a Distribution of each$/);
    expect(data.records.size).toBe(0);
    expect(data.plans.size).toBe(0);
  });

  it('may be one of many small files, whose last pieces count whole', async () => {
    const small = (at: number) => ({ path: `f${at}`, sizeBytes: 1, validator: {} });
    const files = [{ path: 'big', sizeBytes: TIB - 100, validator: {} }, small(1)];
    const source = {
      url: 'https://cdn.example.com/set/',
      files: files.map(({ path }) => ({ path })),
    };
    data.source = () => ({ sizeBytes: TIB - 99, validator: {}, ranges: true, files });
    seen('first', { source });
    await pass(2_000);
    const ready = conditionsOf('first').find(({ type }) => type === 'Ready');
    expect(ready?.reason).toBe('SourceTooLarge');
    expect(ready?.message).toContain(`the 2 files have ${TIB - 99} bytes in 65537 pieces`);
  });

  it('is none at the bound', async () => {
    data.source = () => ({ ...FakeDataSide.source(), sizeBytes: TIB });
    seen('first', {});
    await pass(2_000);
    expect(data.records.get('uid-first')?.pieceCount).toBe(65_536);
  });
});

describe('a Distribution whose Secret cannot be read', () => {
  const spec = { source: { secretRef: { name: 'cdn' } } };
  const isGone = async () => {
    throw new CredentialsError('SecretNotFound', "there is no Secret 'cdn'");
  };
  const isBusy = async () => {
    throw new KubeError('TooManyRequests', 429, 'try again later');
  };
  const conditionOf = (name: string, type: string) =>
    statuses.get(name)?.conditions?.find((condition) => condition.type === type);

  it('is told to its processes by the next leader all the same, and takes nothing from the origin', async () => {
    seen('first', spec);
    await pass(1_000);
    api.readCredentials = isGone;
    await nextLeader(1_000);
    expect(data.plans.get('uid-first')).toMatchObject({ headers: {}, lacksCredentials: true });
    expect(data.primedWith).toEqual(['uid-first']);
    api.readCredentials = async () => ({ authorization: 'Bearer t' });
    await pass(10_000);
    expect(data.plans.get('uid-first')?.headers).toEqual({ authorization: 'Bearer t' });
    expect(data.plans.get('uid-first')?.lacksCredentials).toBeUndefined();
    expect(conditionOf('first', 'SourceResolved')?.status).toBe('True');
  });

  it('is suspended when it is to be', async () => {
    seen('first', {});
    await pass(1_000);
    api.readCredentials = isGone;
    seen('first', { ...spec, suspend: true }, { generation: 2 });
    await pass(1_000);
    expect(data.plans.get('uid-first')?.suspend).toBe(true);
  });

  it('goes on with the credentials of before, and says so no longer than it is so', async () => {
    seen('first', spec);
    await pass(1_000);
    api.readCredentials = isBusy;
    await pass(120_000);
    expect(conditionOf('first', 'SourceResolved')?.reason).toBe('SourceUnavailable');
    expect(data.plans.get('uid-first')?.lacksCredentials).toBeUndefined();
    api.readCredentials = async () => ({});
    await pass(60_000);
    expect(conditionOf('first', 'SourceResolved')?.status).toBe('True');
  });

  it('is asked of the origin as soon as it can be', async () => {
    api.readCredentials = isGone;
    seen('first', spec);
    await pass(30_000);
    expect(data.plans.size).toBe(0);
    api.readCredentials = async () => ({});
    await pass(60_000);
    expect(data.plans.has('uid-first')).toBe(true);
  });
});

describe('a Distribution that goes', () => {
  const spec = { deletionGraceSeconds: 600 };

  it('leaves its files to the next one, also when nobody heard that the finalizer was taken', async () => {
    seen('first', spec);
    await pass(1_000);
    expect(data.records.has('uid-first')).toBe(true);
    data.confirm('uid-first');
    api.dropFinalizer = async ({ metadata }) => {
      gone(metadata.name);
      throw new KubeError('Unreachable', 0, 'the answer was lost');
    };
    seen('first', spec, deleted);
    await pass(5_000);
    expect(objects.size).toBe(0);
    expect(data.plots.has('uid-first')).toBe(true);
    expect(data.records.has('uid-first')).toBe(true);
    seen('second', spec);
    await pass(5_000);
    expect(data.plans.get('uid-first')?.record).toMatchObject({ owner: 'uid-second' });
    // And whoever has adopted it is heard of still.
    data.report('uid-first', []);
    await pass(2_000);
    expect(statuses.get('second')?.epoch?.number).toBe(1);
  });

  it('has an heir that hears of its own claim at once, and lets go of that one', async () => {
    const volume = () =>
      statuses.get('second')?.conditions?.find(({ type }) => type === 'VolumeAvailable')?.reason;
    seen('first', spec);
    await pass(1_000);
    data.confirm('uid-first');
    seen('first', spec, deleted);
    await pass(2_000);
    seen('second', spec);
    await pass(2_000);
    expect(data.plans.get('uid-first')?.record).toMatchObject({ owner: 'uid-second' });
    const hears = async (reason: string) => {
      claims.reason = reason;
      claims.changed('uid-second');
      await pass(2_000);
      expect(volume()).toBe(reason);
    };
    await hears('VolumeBound');
    // The next leader finds it as it is.
    await controller.stop();
    controller = newController();
    await controller.start();
    await pass(2_000);
    await hears('ClaimTerminating');
    expect(claims.released).toEqual(['uid-first']);
    seen('second', spec, deleted);
    await pass(2_000);
    expect(claims.released).toEqual(['uid-first', 'uid-second']);
  });

  it('leaves nothing that failed its digest: the origin is asked for the same digest anew', async () => {
    const digest = `sha256:${'ab'.repeat(32)}`;
    const named = { ...spec, source: { ...aSpec().source, digest } };
    seen('first', named);
    await pass(1_000);
    const error = { reason: 'DigestMismatch', message: 'because' };
    data.report('uid-first', [aReport('n1', { state: 'failed', error })]);
    await pass(1_000);
    seen('first', named, deleted);
    await pass(1_000);
    data.confirm('uid-first');
    await pass(1_000);
    gone('first');
    seen('second', named);
    await pass(5_000);
    expect(data.plans.get('uid-second')?.record).toMatchObject({ uid: 'uid-second', epoch: 1 });
    expect(data.records.get('uid-first')?.owner).toBeUndefined();
  });

  it('is what a new leader asks the API server about: its copy may be older than a row', async () => {
    seen('first', spec);
    await pass(1_000);
    await controller.stop();
    data.primedWith = undefined;
    const first = objects.get('ml/first') as Distribution;
    objects.delete('ml/first');
    controller = newController();
    refreshed = () => {
      objects.set('ml/first', first);
      controller.changed(first, undefined);
    };
    await controller.start();
    await pass(2_000);
    expect(data.records.has('uid-first')).toBe(true);
    expect(data.tombstones.has('uid-first')).toBe(false);
    expect(data.primedWith, 'agents are told of it').toEqual(['uid-first']);
  });

  it.each([
    [
      'a minute ago does not wait for a database from which a new leader knows nothing',
      60_000,
      false,
    ],
    ['just now waits', 50_000, true],
  ])('%s', async (_how, agoMs, waits) => {
    seen('first', spec);
    await pass(1_000);
    await controller.stop();
    data.load = () => Promise.reject(new Error('no server'));
    isDatabaseAway = true;
    const deletedAtMs = WALL_START_MS + clock.now() - agoMs;
    const deletionTimestamp = new Date(deletedAtMs).toISOString();
    seen('first', spec, { resourceVersion: '2', deletionTimestamp });
    controller = newController();
    await controller.start();
    await pass(5_000);
    expect(objects.has('ml/first')).toBe(waits);
    expect(data.tombstones.get('uid-first') ?? false, 'its files stay').toBe(false);
  });

  it('behind the back of its finalizer leaves its files for good, and is forgotten', async () => {
    seen('first', spec);
    await pass(1_000);
    gone('first');
    await pass(1_000);
    expect(data.records.size).toBe(0);
    expect(data.tombstones.get('uid-first')).toBe(false);
  });
});

describe('a database that was restored empty', () => {
  const newer = { source: { url: 'http://origin.example.com/next.bin' } };
  const unreachable = () => {
    throw Object.assign(new Error('no answer'), { code: 'Unreachable' });
  };
  const numberOf = (name: string) => statuses.get(name)?.epoch?.number;

  beforeEach(async () => {
    seen('first', {});
    await pass(2_000);
    seen('first', newer, { resourceVersion: '2', generation: 2 });
    await pass(2_000);
    expect(numberOf('first')).toBe(2);
    await controller.stop();
    data.records.clear();
    data.plans.clear();
    data.primedWith = undefined;
    controller = newController();
  });

  it('begins with a number that no node has heard of, and has nothing deleted', async () => {
    await controller.start();
    await pass(5_000);
    expect(data.plans.get('uid-first')?.record.epoch).toBe(3);
    expect(data.records.get('uid-first')?.epoch).toBe(3);
    expect(numberOf('first')).toBe(3);
    expect(data.primedWith).toBeDefined();
    expect(data.tombstones.size).toBe(0);
  });

  it.each([
    ['looks on the nodes first', { digest: `sha256:${'a'.repeat(64)}` }, {}, true],
    ['does not where no digest tells that they have it', {}, {}, undefined],
    [
      'does not where the origin has another version',
      { digest: `sha256:${'a'.repeat(64)}` },
      { validator: { etag: '"v2"' } },
      undefined,
    ],
  ])('%s', async (_, source, change, isRestored) => {
    objects.set('ml/first', { ...objects.get('ml/first')!, spec: aSpec({ source }) });
    data.source = () => ({ ...FakeDataSide.source(), ...change });
    await controller.start();
    await pass(5_000);
    expect(data.plans.get('uid-first')?.record.epoch).toBe(3);
    expect(data.plans.get('uid-first')?.record.isRestored).toBe(isRestored);
    await nextLeader(5_000);
    expect(data.plans.get('uid-first')?.record.epoch).toBe(3);
    expect(data.plans.get('uid-first')?.record.isRestored, 'the next leader').toBe(isRestored);
    seen('first', newer, { resourceVersion: '3', generation: 3 });
    await pass(5_000);
    const next = data.plans.get('uid-first');
    expect(next?.record.epoch, 'an edit begins the next').toBe(4);
    expect(next?.record).not.toHaveProperty('isRestored');
  });

  it('does so also when the origin answers later, under another leader', async () => {
    data.source = unreachable;
    await controller.start();
    await pass(5_000);
    expect(data.plans.size).toBe(0);
    expect(numberOf('first')).toBe(2);
    data.source = FakeDataSide.source;
    await nextLeader(5_000);
    expect(data.plans.get('uid-first')?.record.epoch).toBe(3);
    expect(data.tombstones.size).toBe(0);
  });
});
