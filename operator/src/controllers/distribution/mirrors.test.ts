import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { FakeClock, settle, steadyRandom } from '../../testing/fakeClock.ts';
import { aProgress, aRecord, aSpec } from '../../testing/objects.ts';
import type {
  DistributionProgress,
  EpochRecord,
  ResolvedSource,
  SourceRequest,
} from '../dataSide.ts';
import { Memory } from './memory.ts';
import { Mirrors } from './mirrors.ts';

const SOURCE = 'http://origin.example.com/file.bin';
const A = 'http://a.example.com/file.bin';
const B = 'http://origin.example.com/copy.bin';
const SECRET = { authorization: 'Bearer secret' };
const DIGEST = `sha256:${'a'.repeat(64)}`;

let clock: FakeClock;
let mirrors: Mirrors;
let memory: Memory;
let requests: SourceRequest[];
let answers: Map<string, (signal: AbortSignal) => Promise<ResolvedSource>>;
let progress: DistributionProgress | undefined;
let saved: Pick<EpochRecord, 'mirrors' | 'droppedMirrors'>[];
let changed: number;

beforeEach(() => {
  clock = new FakeClock();
  requests = [];
  answers = new Map();
  progress = undefined;
  saved = [];
  changed = 0;
  mirrors = new Mirrors({
    coordinator: {
      resolveSource: (request, signal) => {
        requests.push(request);
        return answers.get(request.url)?.(signal) ?? Promise.reject(new Error('no answer'));
      },
      progress: () => progress,
    },
    epochs: {
      saveMirrors: async (_uid, _epoch, what) => {
        saved.push(what);
      },
    },
    clock,
    random: steadyRandom,
    wallTime: () => new Date(clock.now()).toISOString(),
    logger: createLogger({ silent: true }),
    changed: () => {
      changed += 1;
    },
  });
  memory = new Memory('uid-1', aRecord({ digest: DIGEST }), 0);
});
afterEach(() => mirrors.stop());

const found = (change: Partial<ResolvedSource> = {}): ResolvedSource => ({
  sizeBytes: 1000,
  validator: { etag: '"m"' },
  ranges: true,
  ...change,
});

/** As one reconciliation after the other does. */
async function look(...urls: string[]): Promise<number | undefined> {
  const spec = aSpec({ source: { url: SOURCE, digest: DIGEST, mirrors: urls } });
  const dueInMs = mirrors.look('ml/llama', { spec } as Distribution, memory, SECRET);
  await settle();
  return dueInMs;
}

const knownUrls = () => memory.record?.mirrors?.map(({ url }) => url) ?? [];

describe('mirrors of a source', () => {
  it('are asked once, with the credentials of their host alone, and kept with the epoch', async () => {
    answers.set(A, async () => found());
    answers.set(B, async () => found({ validator: { lastModified: 'yesterday' } }));
    expect(await look(A, B)).toBeUndefined();
    expect(requests.map(({ url, headers }) => [url, headers])).toEqual([
      [A, {}],
      [B, SECRET],
    ]);
    expect(memory.record?.mirrors).toMatchObject([
      { url: A, validators: [{ etag: '"m"' }] },
      { url: B, validators: [{ lastModified: 'yesterday' }] },
    ]);
    const ids = memory.record?.mirrors?.map(({ id }) => id) ?? [];
    expect(new Set(ids).size).toBe(2);
    expect(saved.at(-1)).toEqual({ mirrors: memory.record?.mirrors, droppedMirrors: [] });
    expect(changed).toBe(2);
    await look(A, B);
    expect(requests).toHaveLength(2);
  });

  it('are asked for every file of a set', async () => {
    const files = ['a', 'b'].map((path) => ({ path, sizeBytes: 5, sha256: 'a'.repeat(64) }));
    const url = 'http://origin.example.com/set/';
    memory = new Memory('uid-1', aRecord({ url, files }), 0);
    const mirror = 'http://a.example.com/';
    const known = files.map((file) => ({ ...file, validator: { etag: file.path } }));
    answers.set(mirror, async () => found({ files: known.reverse() }));
    const named = files.map(({ path }) => ({ path, digest: DIGEST }));
    const spec = aSpec({ source: { url, files: named, mirrors: [mirror] } });
    mirrors.look('ml/llama', { spec } as Distribution, memory, {});
    await settle();
    expect(requests).toMatchObject([{ url: mirror, files: [{ path: 'a' }, { path: 'b' }] }]);
    expect(memory.record?.mirrors?.[0]?.validators).toEqual([{ etag: 'a' }, { etag: 'b' }]);
  });

  it('are asked again, later and later, when they do not answer or have other files', async () => {
    answers.set(A, async () => found({ sizeBytes: 1 }));
    await look(A);
    expect(knownUrls()).toEqual([]);
    expect(memory.mirrors.problems().get(A)).toMatch(/has 1 bytes of 'file.bin'/);
    const firstMs = (await look(A)) ?? 0;
    expect(firstMs).toBeGreaterThan(0);
    expect(requests).toHaveLength(1);
    await clock.advance(firstMs);
    await look(A);
    expect(requests).toHaveLength(2);
    expect((await look(A)) ?? 0).toBeGreaterThan(firstMs);
    answers.set(A, async () => found());
    await clock.advance(60_000);
    await look(A);
    expect(knownUrls()).toEqual([A]);
    expect(memory.mirrors.problems().size).toBe(0);
  });

  it('keep nobody waiting, and are not asked twice at a time', async () => {
    answers.set(
      A,
      (signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
    );
    answers.set(B, async () => found());
    await look(A, B);
    await look(A, B);
    expect(requests.map(({ url }) => url)).toEqual([A, B]);
    expect(knownUrls()).toEqual([B]);
  });

  it('are forgotten when they are named no more, and not asked while they are dropped', async () => {
    answers.set(A, async () => found());
    await look(A);
    memory.record = { ...memory.record!, droppedMirrors: [B] };
    await look(A, B);
    expect(requests.map(({ url }) => url)).toEqual([A]);
    await look();
    expect(saved.at(-1)).toEqual({ mirrors: [], droppedMirrors: [] });
    answers.set(B, async () => found());
    await look(B);
    expect(knownUrls()).toEqual([B]);
  });

  it('are asked anew when their files are others than they were', async () => {
    answers.set(A, async () => found());
    await look(A);
    const failure = { reason: 'SourceChanged', message: 'another version' };
    progress = aProgress([], { mirrorFailures: new Map([[A, failure]]) });
    await look(A);
    expect(knownUrls()).toEqual([]);
    progress = aProgress([]);
    answers.set(A, async () => found({ validator: { etag: '"new"' } }));
    await clock.advance(30_000);
    await look(A);
    expect(memory.record?.mirrors?.[0]?.validators).toEqual([{ etag: '"new"' }]);
  });

  it('are nothing to another epoch than the one that they were asked for', async () => {
    const answer = Promise.withResolvers<ResolvedSource>();
    answers.set(A, () => answer.promise);
    await look(A);
    memory.begin(aRecord({ digest: DIGEST, epoch: 2 }), 0);
    answer.resolve(found());
    await settle();
    expect(knownUrls()).toEqual([]);
    expect(saved).toEqual([]);
  });
});
