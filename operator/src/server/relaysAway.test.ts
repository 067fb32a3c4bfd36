import { expect, it } from 'vitest';
import { DOMAIN_LABEL } from '../controllers/fleet/manifests.ts';
import type { PodObject } from './callers.ts';
import { isRelayAway } from './relaysAway.ts';

function pod(uid: string, state: object, labels: Record<string, string>): PodObject {
  const metadata = { name: uid, namespace: 'sluice-system', uid, resourceVersion: '1', labels };
  return { metadata, status: { containerStatuses: [{ state }] } } as PodObject;
}

const relay = (uid: string, state: object) => pod(uid, state, { [DOMAIN_LABEL]: 'a' });

it.each([
  ['runs, and is not connected', relay('r2', { running: {} }), true],
  ['is connected', relay('r1', { running: {} }), false],
  ['has ended', relay('r2', { terminated: {} }), false],
  ['has not begun', relay('r2', { waiting: {} }), false],
  ['is none, but an agent', pod('r2', { running: {} }, {}), false],
])('a relay that %s: %s', (_case, each, isAway) => {
  expect(isRelayAway([relay('r1', { running: {} }), each], [{ podUid: 'r1' }])).toBe(isAway);
});
