import { beforeEach, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { KubeClient, KubeRequest } from '../../kube/client.ts';
import type { WorkloadObject } from '../../kube/objects.ts';
import { resources } from '../../kube/paths.ts';
import { FakeClock } from '../../testing/fakeClock.ts';
import { Healing } from './healing.ts';

/** Of an object whose managedFields were lost in a restore: all that it had is of this one. */
const BEFORE = {
  manager: 'before-first-apply',
  fieldsV1: { 'f:spec': { 'f:progressDeadlineSeconds': {}, 'f:paused': {} } },
};
const OURS = { manager: 'sluice-operator', fieldsV1: { 'f:spec': { 'f:replicas': {} } } };
const DEFAULTS = { progressDeadlineSeconds: 600 };

let removed: string[][];
let healing: Healing;

/** What the API server answers has the defaults again. */
beforeEach(() => {
  removed = [];
  const request = async ({ body }: KubeRequest) => {
    const pointers = (body as { op: string; path: string }[]).filter(({ op }) => op === 'remove');
    removed.push(pointers.map(({ path }) => path));
    return objectWith(DEFAULTS);
  };
  healing = new Healing({
    client: { request } as unknown as KubeClient,
    clock: new FakeClock(),
    logger: createLogger({ silent: true }),
  });
});

function objectWith(spec: object): WorkloadObject {
  const managedFields = [OURS, BEFORE];
  const metadata = { name: 'relay', uid: 'u', resourceVersion: '7', managedFields };
  return { metadata, spec: { replicas: 1, ...spec } };
}

async function heal(spec: object): Promise<void> {
  await healing.heal(resources.deployments, objectWith(spec), AbortSignal.any([]));
}

it('a default that is there again as soon as it is removed is left, and nothing else', async () => {
  await heal({ ...DEFAULTS, paused: true });
  expect(removed.splice(0)).toEqual([['/spec/paused', '/spec/progressDeadlineSeconds']]);
  for (let looked = 0; looked < 10; looked += 1) await heal(DEFAULTS);
  expect(removed).toEqual([]);
  await heal({ ...DEFAULTS, paused: true });
  expect(removed.splice(0)).toEqual([['/spec/paused']]);
  await heal({ progressDeadlineSeconds: 1 });
  expect(removed.splice(0), 'it is no default now').toEqual([['/spec/progressDeadlineSeconds']]);
  await heal(DEFAULTS);
  expect(removed).toEqual([]);
  healing.forget('relay');
  await heal(DEFAULTS);
  expect(removed, 'another object of that name').toHaveLength(1);
});
