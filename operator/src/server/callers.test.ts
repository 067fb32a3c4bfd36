import { describe, expect, it } from 'vitest';
import type { KubeRequest } from '../kube/client.ts';
import { FakeClock } from '../testing/fakeClock.ts';
import { Callers, type PodObject } from './callers.ts';

const NEVER = new AbortController().signal;
const EXTRA = {
  'pod-name': 'p',
  'pod-uid': 'uid-p',
  'node-name': 'n1',
  'node-uid': 'uid-n1',
};

function aPod(podIP: string | undefined, uid = 'uid-p', kind = 'DaemonSet'): PodObject {
  return {
    metadata: {
      name: 'p',
      namespace: 'sluice',
      uid,
      resourceVersion: '1',
      ownerReferences: [{ kind, controller: true }],
    },
    status: { ...(podIP !== undefined && { podIP }) },
  };
}

/** `watched` is what the copy has, `known` what the API server itself says. */
function callersOf(watched: PodObject | undefined, known: PodObject) {
  const clock = new FakeClock();
  const gets: number[] = [];
  const extra = Object.fromEntries(
    Object.entries(EXTRA).map(([name, value]) => [`authentication.kubernetes.io/${name}`, [value]]),
  );
  const user = { username: 'system:serviceaccount:sluice:sluice-agent', extra };
  const copy = { pod: watched };
  const request = async ({ method }: KubeRequest) => {
    if (method === 'POST') return { status: { authenticated: true, user } };
    gets.push(clock.now());
    return known;
  };
  const callers = new Callers(
    { namespace: 'sluice' },
    {
      client: { request: request as never },
      clock,
      pods: { get: (key) => (key === 'sluice/p' ? copy.pod : undefined) },
    },
  );
  return { callers, clock, copy, gets };
}

describe('the pod of a caller', () => {
  it('is the one that is watched: the API server is not asked for it', async () => {
    const { callers, gets } = callersOf(aPod('10.0.0.1'), aPod('10.0.0.2'));
    const caller = await callers.identify('token', 'agent', NEVER);
    expect(caller).toMatchObject({
      pod: 'p',
      node: 'n1',
      nodeUid: 'uid-n1',
      address: '10.0.0.1',
    });
    expect(gets).toEqual([]);
  });

  it.each([
    ['is not there yet', undefined],
    ['is of an earlier pod of the same name', aPod('10.0.0.1', 'uid-before')],
    ['has no address yet', aPod(undefined)],
  ])('is asked for when what is watched %s', async (_what, watched) => {
    const { callers, gets } = callersOf(watched, aPod('10.0.0.2'));
    expect(await callers.identify('token', 'agent', NEVER)).toMatchObject({ address: '10.0.0.2' });
    expect(gets).toEqual([0]);
  });

  it('without an address is waited for by the watch, and asked for once a second', async () => {
    const { callers, clock, copy, gets } = callersOf(aPod(undefined), aPod(undefined));
    const caller = callers.identify('token', 'agent', NEVER);
    await clock.advance(2_500);
    copy.pod = aPod('10.0.0.3');
    await clock.advance(200);
    expect(await caller).toMatchObject({ address: '10.0.0.3' });
    expect(gets).toEqual([0, 1_000, 2_000]);
  });

  it('that was not made by the operator is refused, watched or not', async () => {
    const byHand = aPod('10.0.0.1', 'uid-p', 'ReplicaSet');
    const { callers } = callersOf(byHand, byHand);
    await expect(callers.identify('token', 'agent', NEVER)).rejects.toMatchObject({ status: 403 });
  });
});
