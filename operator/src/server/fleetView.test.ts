import { beforeEach, describe, expect, it } from 'vitest';
import type { PodObject } from './callers.ts';
import { type FleetProcess, FleetView, hasRemoved, OvertakenError } from './fleetView.ts';
import type { Session } from './sessions.ts';

let ended: string[] = [];
let fleet: FleetView;
beforeEach(() => {
  ended = [];
  fleet = new FleetView({
    changed: () => {},
    reported: () => {},
    ended: ({ id }: FleetProcess) => ended.push(id),
  });
});

function sessionOf(id: string, expiresAtMs: number, podUid = 'pod-a'): Session {
  return {
    id,
    kind: 'relay',
    node: 'node-a',
    domain: 'a',
    host: '10.0.0.1',
    bitTorrentPort: 6881,
    httpPort: undefined,
    pod: podUid,
    podUid,
    protocolVersion: 1,
    expiresAtMs,
  };
}

function podWith(states: readonly object[], uid = 'pod-a'): PodObject {
  return {
    metadata: { name: uid, uid },
    status: { containerStatuses: states.map((state) => ({ state })) },
  } as unknown as PodObject;
}

it('a process is of the node that its newest session names', () => {
  const { nodeUid } = fleet.meet({ ...sessionOf('a', 1_000), nodeUid: 'first' }, 0);
  expect(nodeUid).toBe('first');
  expect(fleet.meet({ ...sessionOf('a', 2_000), nodeUid: 'again' }, 0).nodeUid).toBe('again');
  expect(fleet.meet(sessionOf('a', 3_000), 0).nodeUid).toBe('again');
});

describe('of two runs of a pod', () => {
  it('the one with the newer session proves that the other has ended', () => {
    fleet.meet(sessionOf('before', 1_000), 0);
    fleet.meet(sessionOf('after', 2_000), 0);
    expect(ended).toEqual(['before']);
    expect([...fleet.list()].map(({ id }) => id)).toEqual(['after']);
  });

  it('the one before ends nobody when something that it sent comes late', () => {
    fleet.meet(sessionOf('before', 1_000), 0);
    fleet.meet(sessionOf('after', 2_000), 0);
    expect(() => fleet.meet(sessionOf('before', 1_000), 0)).toThrow(OvertakenError);
    const stream = { send: () => {}, close: () => {} };
    expect(() => fleet.open(sessionOf('before', 1_000), stream, 0)).toThrow(OvertakenError);
    expect(ended).toEqual(['before']);
    expect(fleet.get('after')).toBeDefined();
  });

  it('the newer one waits no longer than until the other is forgotten, where its session ends sooner', () => {
    // The one before has a session of a leader whose clock was ten minutes ahead.
    const [before, after] = [sessionOf('before', 1_500_000), sessionOf('after', 900_000)];
    const stream = { send: () => {}, close: () => {} };
    const process = fleet.open(before, stream, 0);
    fleet.closed(process, stream, 1_000);
    expect(() => fleet.meet(after, 1_000)).toThrow(OvertakenError);
    fleet.sweep(31_001);
    fleet.meet(after, 31_001);
    expect([...fleet.list()].map(({ id }) => id)).toEqual(['after']);
    expect(ended).toEqual([]);
  });

  it('is judged by the newest session of each', () => {
    fleet.meet(sessionOf('one', 1_000), 0);
    fleet.meet(sessionOf('one', 3_000), 0);
    fleet.meet(sessionOf('one', 1_000), 0);
    expect(() => fleet.meet(sessionOf('other', 2_000), 0)).toThrow(OvertakenError);
    expect(fleet.meet(sessionOf('elsewhere', 500, 'pod-b'), 0).id).toBe('elsewhere');
    expect(ended).toEqual([]);
  });
});

describe('a process whose container the kubelet reports as terminated', () => {
  it('has ended', () => {
    fleet.meet(sessionOf('a', 1_000), 0);
    fleet.podChanged(podWith([{ terminated: {} }]), undefined, 10_001);
    expect(ended).toEqual(['a']);
  });

  it.each([
    ['another container of the pod runs', podWith([{ terminated: {} }, { running: {} }]), 10_001],
    ['nothing is said of containers', podWith([]), 10_001],
    ['it is of another pod', podWith([{ terminated: {} }], 'pod-b'), 10_001],
    ['the news may be of the run before it', podWith([{ terminated: {} }]), 10_000],
  ])('has not, when %s', (_why, pod, atMs) => {
    fleet.meet(sessionOf('a', 1_000), 0);
    fleet.podChanged(pod, undefined, atMs);
    expect(ended).toEqual([]);
  });

  it('has not while its work stream is open, and has when the pod is gone', () => {
    const stream = { send: () => {}, close: () => {} };
    const process = fleet.open(sessionOf('a', 1_000), stream, 0);
    const pod = podWith([{ terminated: {} }]);
    fleet.podChanged(pod, undefined, 20_000);
    expect(ended).toEqual([]);
    fleet.closed(process, stream, 20_000);
    fleet.podChanged(undefined, pod, 20_001);
    expect(ended).toEqual(['a']);
  });
});

describe('a process that says nothing', () => {
  let closed: number;
  const stream = { send: () => {}, close: () => (closed += 1) };

  beforeEach(() => {
    closed = 0;
  });

  it('is not waited for because its stream is still open: its machine may be cut off', () => {
    const process = fleet.open(sessionOf('one', 1_000), stream, 0);
    fleet.sweep(75_000);
    expect(process.stream).toBe(stream);
    fleet.sweep(75_001);
    expect([process.stream, closed]).toEqual([undefined, 1]);
    expect(fleet.connected()).toEqual([]);
    // Known still: what it held is to be given up.
    expect([...fleet.list()]).toEqual([process]);
    fleet.sweep(80_001);
    expect([...fleet.list()]).toEqual([]);
    expect(ended, 'nobody said so').toEqual([]);
  });

  it('nor when its lease runs out, which it would have renewed', () => {
    const process = fleet.open(sessionOf('one', 1_000), stream, 0);
    fleet.lapsed(process.id, 7_999);
    expect(closed).toBe(0);
    fleet.lapsed(process.id, 10_000);
    expect([process.stream, closed]).toEqual([undefined, 1]);
    fleet.lapsed('another', 20_000);
  });

  it('keeps its stream as long as it reports, or asks for leases', () => {
    const process = fleet.open(sessionOf('one', 1_000), stream, 0);
    fleet.report(process, { sequence: 1, transfers: [] } as never, 60_000);
    fleet.sweep(120_000);
    fleet.meet(sessionOf('one', 1_000), 130_000);
    fleet.sweep(200_000);
    expect([process.stream, closed]).toEqual([stream, 0]);
  });
});

describe('what a process has said of one distribution', () => {
  const report = (uid: string, epoch: number, state: string) => ({ uid, epoch, state });
  let process: FleetProcess;
  const say = (sequence: number, ...transfers: readonly object[]) =>
    fleet.report(process, { sequence, transfers } as never, 0);
  const statesOf = (uid: string) =>
    [...process.reports.of(uid)].map(([epoch, { state }]) => [epoch, state]);

  beforeEach(() => {
    process = fleet.meet(sessionOf('one', 1_000), 0);
  });

  it('is the newest of each of its epochs', () => {
    say(1, report('a', 1, 'ready'), report('a', 2, 'pending'), report('b', 1, 'failed'));
    say(2, report('a', 2, 'transferring'));
    expect(statesOf('a')).toEqual([
      [1, 'ready'],
      [2, 'transferring'],
    ]);
    expect(statesOf('c')).toEqual([]);
  });

  it('is told without a look at the others, of which there are thousands', () => {
    let looks = 0;
    const other = (epoch: number, state: string) => ({
      get uid() {
        looks += 1;
        return 'other';
      },
      epoch,
      state,
    });
    say(1, report('a', 1, 'removed'), other(1, 'ready'), other(2, 'ready'));
    looks = 0;
    expect(statesOf('a')).toEqual([[1, 'removed']]);
    const removal = { type: 'remove', uid: 'a', deleteFiles: true } as const;
    process.told.set('a', { peers: [], removals: [removal] });
    expect(hasRemoved(process, { uid: 'a', deleteFiles: true })).toBe(true);
    expect(looks).toBe(0);
  });

  it('is forgotten, all of it or an epoch', () => {
    say(1, report('a', 1, 'ready'), report('a', 2, 'ready'), report('b', 1, 'ready'));
    process.reports.forget('a', 1);
    expect(statesOf('a')).toEqual([[2, 'ready']]);
    process.reports.forget('a');
    process.reports.forget('c');
    expect([...process.reports.all()]).toEqual([report('b', 1, 'ready')]);
    for (const { uid, epoch } of process.reports.all()) process.reports.forget(uid, epoch);
    expect([...process.reports.all()]).toEqual([]);
  });
});

describe('which nodes have an agent', () => {
  const stream = { send: () => {}, close: () => {} };
  const agent = (id: string, podUid = id): Session => ({
    ...sessionOf(id, 1_000, podUid),
    kind: 'agent',
  });
  const said = () => [...fleet.agents().values()];

  it('is known anew when a process or its stream has come or gone', () => {
    expect(said()).toEqual([]);
    const process = fleet.meet(agent('one'), 0);
    expect(said()).toEqual(['silent']);
    fleet.open(agent('one'), stream, 0);
    expect(said()).toEqual(['connected']);
    fleet.closed(process, stream, 0);
    expect(said()).toEqual(['silent']);
    fleet.open(agent('one'), stream, 0);
    fleet.lapsed('one', 10_000);
    expect(said()).toEqual(['silent']);
    fleet.sweep(60_000);
    expect(said()).toEqual([]);
  });

  it('is so, too, when another run of the pod shows up, and when the leader steps down', () => {
    fleet.open(agent('before', 'pod'), stream, 0);
    expect(said()).toEqual(['connected']);
    fleet.meet({ ...agent('after', 'pod'), expiresAtMs: 2_000 }, 0);
    expect(said()).toEqual(['silent']);
    fleet.clear();
    expect(said()).toEqual([]);
  });

  it('is no other answer while nothing of them has changed', () => {
    fleet.open(agent('one'), stream, 0);
    const agents = fleet.agents();
    fleet.report(fleet.get('one')!, { sequence: 1, transfers: [] } as never, 0);
    expect(fleet.agents()).toBe(agents);
  });
});
