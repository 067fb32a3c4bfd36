import { beforeEach, describe, expect, it } from 'vitest';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { type KubeClient, KubeError, type KubeRequest } from '../../kube/client.ts';
import { type DistributionApi, distributionApi, FINALIZER } from './api.ts';

const OTHERS = 'example.com/theirs';
const never = new AbortController().signal;

interface Kept {
  uid: string;
  version: number;
  finalizers: string[];
}

/** One object at an API server, which somebody else may change. */
let kept: Kept | undefined;
let requests: KubeRequest[];
let api: DistributionApi;

beforeEach(() => {
  kept = { uid: 'u', version: 7, finalizers: [OTHERS, FINALIZER] };
  requests = [];
  api = distributionApi({ request: async (call) => answer(call) } as KubeClient);
});

function answer(call: KubeRequest): unknown {
  requests.push(call);
  if (call.method === 'GET') return { items: kept === undefined ? [] : [objectOf(kept)] };
  if (kept === undefined) throw new KubeError('NotFound', 404, 'gone');
  const { metadata } = call.body as Distribution;
  if (metadata.uid !== kept.uid || metadata.resourceVersion !== String(kept.version)) {
    throw new KubeError('Conflict', 409, 'changed');
  }
  kept.finalizers = [...(metadata.finalizers ?? [])];
  return objectOf(kept);
}

function objectOf({ uid, version, finalizers }: Kept): Distribution {
  const metadata = { name: 'llama', namespace: 'ml', uid, resourceVersion: String(version) };
  return { metadata: { ...metadata, finalizers: [...finalizers] } } as unknown as Distribution;
}

describe('the finalizer', () => {
  it('is taken away whoever has set it, and those of others stay', async () => {
    await api.dropFinalizer(objectOf(kept!), never);
    expect(kept?.finalizers).toEqual([OTHERS]);
    expect(requests).toMatchObject([
      { method: 'PATCH', contentType: 'application/merge-patch+json' },
    ]);
  });

  it('is taken from the object as it is now, when the copy is behind', async () => {
    const copy = objectOf(kept!);
    kept = { uid: 'u', version: 8, finalizers: [FINALIZER, 'example.com/new'] };
    await api.dropFinalizer(copy, never);
    expect(kept.finalizers).toEqual(['example.com/new']);
  });

  it.each<[string, Kept | undefined]>([
    ['gone', undefined],
    ['made anew', { uid: 'v', version: 9, finalizers: [FINALIZER] }],
    ['without it already', { uid: 'u', version: 9, finalizers: [OTHERS] }],
  ])('is left alone where the object is %s', async (_name, now) => {
    const copy = objectOf(kept!);
    kept = now && { ...now };
    await api.dropFinalizer(copy, never);
    expect(kept).toEqual(now);
  });
});
