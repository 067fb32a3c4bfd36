import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import { type KubeClient, KubeError, type KubeRequest } from '../../kube/client.ts';
import { FakeClock } from '../../testing/fakeClock.ts';
import { FINALIZER } from './api.ts';
import { letGo } from './letGo.ts';

const TERMINATING = { deletionTimestamp: '2026-01-01T00:00:00Z' };

let clock: FakeClock;
let pods: object[];
let patched: string[];
/** Distributions that the API server does not let be changed. */
let refused: readonly string[];

beforeEach(() => {
  clock = new FakeClock();
  pods = [];
  patched = [];
  refused = [];
});

function pod(uid: string, metadata: object = {}, phase = 'Running'): object {
  return { metadata: { uid, ...metadata }, status: { phase } };
}

async function request({ method, path }: KubeRequest): Promise<unknown> {
  const name = path.split('/').at(-1) ?? '';
  if (method === 'PATCH') {
    if (refused.includes(name)) throw new KubeError('Forbidden', 403, `a webhook refuses ${name}`);
    patched.push(name);
    return undefined;
  }
  if (name === 'pods') return { metadata: {}, items: pods };
  const objects = ['a', 'b', 'c', 'd'].map((each) => ({
    metadata: { namespace: 'ml', name: each, uid: each, finalizers: [FINALIZER] },
  }));
  return { metadata: {}, items: objects };
}

function run() {
  const client = { request } as unknown as KubeClient;
  const logger = createLogger({ silent: true });
  const { signal } = new AbortController();
  return letGo({ namespace: 'sluice' }, { client, clock, logger }, signal);
}

describe('what lets go of Distributions', () => {
  it('passes over a pod that is Terminating for a minute, and no sooner', async () => {
    pods = [pod('stuck', TERMINATING)];
    const done = run();
    await clock.advance(59_000);
    expect(patched).toEqual([]);
    await clock.advance(1_000);
    await done;
    expect(patched).toEqual(['a', 'b', 'c', 'd']);
  });

  it.each(['Failed', 'Succeeded'])('waits for no pod that has %s', async (phase) => {
    pods = [pod('evicted', {}, phase)];
    await run();
    expect(patched).toHaveLength(4);
  });

  it('touches nothing where a pod runs on, whatever becomes of the others', async () => {
    pods = [pod('stuck', TERMINATING), pod('runs')];
    const done = expect(run()).rejects.toThrow('pods of the operator still run in sluice');
    await clock.advance(95_000);
    await done;
    expect(patched).toEqual([]);
  });

  it('tries all of them, and then names those that stay', async () => {
    refused = ['b', 'c'];
    await expect(run()).rejects.toThrow(/stays on ml\/b, ml\/c: .*a webhook refuses b/);
    expect(patched).toEqual(['a', 'd']);
  });
});
