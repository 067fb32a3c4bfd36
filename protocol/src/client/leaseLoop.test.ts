import type { PullEnd, Puller, PullGrant } from '@sluice/engine/session/puller.ts';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Extent, LeaseAnswer, LeaseGrant, PullerCertificate } from '../leaseMessages.ts';
import type { LeaseAsk } from './leaseClient.ts';
import { LeaseLoop, type LeaseWant } from './leaseLoop.ts';
import type { TaskError } from './taskReport.ts';
import { processClock } from './testing/processClock.ts';

const MIB = 1024 * 1024;
const aborts: AbortController[] = [];
afterEach(() => {
  for (const abort of aborts.splice(0)) abort.abort();
});

class FakePuller implements Puller {
  readonly ended: Promise<PullEnd>;
  readonly grants: PullGrant[];
  left: number[] = [];
  used = 0;
  started = false;
  closed = false;
  fits = true;
  end!: (end: PullEnd) => void;

  constructor(grant: PullGrant) {
    this.grants = [grant];
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
    this.#take(grant);
  }

  start() {
    this.started = true;
  }
  adopt(grant: PullGrant) {
    this.grants.push(grant);
    this.#take(grant);
  }
  fitsGrant() {
    return this.fits;
  }
  usedBytes() {
    return this.used;
  }
  unfinished(): Extent[] {
    return this.left.map((first) => ({ first, count: 1 }));
  }
  meters() {
    return { socketBytes: this.used, answeredBytes: this.used, pieceBytes: this.used };
  }
  lost = 0;
  unproven() {
    return { connections: this.lost, slackBytes: this.lost * 1000 };
  }
  timeToFirstByteMs() {
    return 7;
  }
  async close() {
    this.closed = true;
    this.end({ kind: 'stopped', reason: 'closed' });
  }
  /** Pulls this many pieces. */
  pull(count: number) {
    this.left.splice(0, count);
    this.used += count * MIB;
    if (this.left.length === 0) this.end({ kind: 'completed' });
  }
  #take({ extents }: PullGrant) {
    this.left = extents.flatMap(({ first, count }) =>
      Array.from({ length: count }, (_, index) => first + index),
    );
  }
}

function grant(first: number, count: number, change: Partial<LeaseGrant> = {}): LeaseGrant {
  return {
    leaseId: 'l1',
    version: 1,
    uid: 'u',
    epoch: 1,
    extents: [{ first, count }],
    maxBytes: 100 * MIB,
    rateBytesPerSecond: MIB,
    slackBytes: MIB,
    connections: 2,
    ttlMs: 9_000,
    certificate: { pullerKey: '', extents: [], signature: '' },
    ...change,
  };
}

const WAIT: LeaseAnswer = { outcome: 'wait', reason: 'NothingToPull', retryAfterMs: 60_000 };

function build(answers: (LeaseAnswer | Promise<LeaseAnswer> | Error)[]) {
  const asked: LeaseAsk[] = [];
  const pullers: FakePuller[] = [];
  const failures: (TaskError | undefined)[] = [];
  const failedMirrors: (string | undefined)[] = [];
  const problems: unknown[] = [];
  const certified: PullerCertificate[] = [];
  const abort = new AbortController();
  aborts.push(abort);
  const state: {
    complete: boolean;
    want: LeaseWant | undefined;
    mirrors: string[];
    sleptMs: number;
  } = {
    complete: false,
    mirrors: [],
    sleptMs: 0,
    want: { rateBytesPerSecond: 10 * MIB, connections: 4 },
  };
  const loop = new LeaseLoop(
    {
      uid: 'u',
      epoch: 1,
      pieceLengthBytes: MIB,
      pullerKey: 'AAAA',
    },
    {
      client: {
        lease: async (ask) => {
          asked.push(ask);
          const of = { requestedAtMs: performance.now(), sequence: asked.length };
          if (ask.op === 'settle') {
            expect(pullers.at(-1)?.closed ?? true).toBe(true);
            return { answer: { outcome: 'settled' }, ...of };
          }
          const answer = (await answers.shift()) ?? WAIT;
          if (answer instanceof Error) throw answer;
          return { answer, ...of };
        },
      },
      clock: {
        now: () => processClock.now() + state.sleptMs,
        setTimer: (delayMs, callback) => processClock.setTimer(delayMs, callback),
      },
      mirrors: () => state.mirrors,
      createPuller: (given) => {
        if (given.mirror !== undefined && !state.mirrors.includes(given.mirror)) {
          throw new Error('no such mirror');
        }
        const puller = new FakePuller(given);
        pullers.push(puller);
        return puller;
      },
      wantedRateBytesPerSecond: () => state.want?.rateBytesPerSecond ?? 0,
      want: () => state.want,
      certified: (given) => certified.push(given),
      complete: () => state.complete,
      onFailure: (error, mirror) => {
        failures.push(error);
        failedMirrors.push(mirror);
      },
      onProblem: (error) => problems.push(error),
    },
  );
  const done = loop.run(abort.signal);
  const seen = { asked, pullers, failures, failedMirrors, problems, certified };
  return { loop, done, ...seen, abort, state };
}

const ops = (asked: LeaseAsk[]) => asked.map(({ op }) => op);
const until = (check: () => void) => vi.waitFor(check, { timeout: 3_000, interval: 5 });

describe('the lease loop', () => {
  it('asks for more before it has run out, and settles when there is nothing', async () => {
    const more = grant(5, 5, { version: 2, extents: [{ first: 5, count: 5 }] });
    const { asked, pullers, certified } = build([
      { outcome: 'granted', grant: grant(0, 10) },
      { outcome: 'granted', grant: more },
    ]);
    await until(() => expect(pullers[0]?.started).toBe(true));
    pullers[0]?.pull(5);
    await until(() => expect(pullers[0]?.grants).toHaveLength(2));
    expect(asked[1]).toMatchObject({
      op: 'renew',
      version: 1,
      usedBytes: 5 * MIB,
      timeToFirstByteMs: 7,
      heard: 1,
      unfinished: [5, 6, 7, 8, 9].map((first) => ({ first, count: 1 })),
    });
    pullers[0]?.pull(5);
    await until(() => expect(ops(asked)).toContain('settle'));
    expect(pullers).toHaveLength(1);
    expect(certified).toHaveLength(2);
    const settled = asked.find(({ op }) => op === 'settle');
    expect(settled).toMatchObject({ version: 2, usedBytes: 10 * MIB, heard: 2, unfinished: [] });
  });

  it('says at the end which answer it heard last, when the one after it was lost', async () => {
    const { asked, pullers } = build([
      { outcome: 'granted', grant: grant(0, 2) },
      new Error('the answer is lost'),
      new Error('and the next one, too'),
    ]);
    await until(() => expect(pullers[0]?.started).toBe(true));
    pullers[0]?.pull(1);
    await until(() => expect(ops(asked)).toEqual(['acquire', 'renew']));
    pullers[0]?.pull(1);
    await until(() => expect(ops(asked)).toContain('settle'));
    expect(asked.find(({ op }) => op === 'settle')).toMatchObject({ heard: 1, unfinished: [] });
  });

  it('renews when the server says that there may be more, once for each time', async () => {
    const { loop, pullers, asked } = build([
      { outcome: 'granted', grant: grant(0, 10) },
      { outcome: 'granted', grant: grant(0, 10, { rateBytesPerSecond: 2 * MIB }) },
      { outcome: 'granted', grant: grant(0, 10, { rateBytesPerSecond: 2 * MIB }) },
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    loop.askNow();
    await until(() => expect(pullers[0]?.grants).toHaveLength(2));
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(ops(asked)).toEqual(['acquire', 'renew']);
    loop.askNow();
    await until(() => expect(ops(asked)).toEqual(['acquire', 'renew', 'renew']));
  });

  it('goes on under the same lease when work comes after the pull was over', async () => {
    const { pullers, asked } = build([
      { outcome: 'granted', grant: grant(0, 1, { rateBytesPerSecond: 1000 }) },
      { outcome: 'granted', grant: grant(1, 1, { version: 2, maxBytes: 50 * MIB }) },
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    pullers[0]?.pull(1);
    await until(() => expect(pullers).toHaveLength(2));
    expect(pullers[0]?.closed).toBe(true);
    expect(pullers[1]?.grants[0]?.maxBytes).toBe(49 * MIB);
    pullers[1]?.pull(1);
    await until(() => expect(ops(asked)).toContain('settle'));
    expect(asked.find(({ op }) => op === 'settle')).toMatchObject({ usedBytes: 2 * MIB });
  });

  it('acknowledges a smaller grant when it keeps to it, not before', async () => {
    const { pullers, asked } = build([
      { outcome: 'granted', grant: grant(0, 10) },
      { outcome: 'granted', grant: grant(5, 5, { version: 2, connections: 1 }) },
      { outcome: 'granted', grant: grant(5, 5, { version: 3, connections: 1 }) },
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    const [puller] = pullers as [FakePuller];
    puller.fits = false;
    puller.pull(5);
    await until(() => expect(puller.grants).toHaveLength(2));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(asked).toHaveLength(2);
    puller.fits = true;
    await until(() => expect(asked.length).toBeGreaterThan(2));
    expect(asked[2]).toMatchObject({ op: 'renew', version: 2 });
  });

  it('does not acknowledge what is not smaller', async () => {
    const { pullers, asked } = build([
      { outcome: 'granted', grant: grant(0, 10) },
      { outcome: 'granted', grant: grant(5, 10, { version: 2 }) },
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    pullers[0]?.pull(5);
    await until(() => expect(pullers[0]?.grants).toHaveLength(2));
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(ops(asked)).toEqual(['acquire', 'renew']);
  });

  it('closes everything at once when the lease is gone, and asks anew', async () => {
    const { pullers, asked } = build([
      { outcome: 'granted', grant: grant(0, 10) },
      { outcome: 'gone' },
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    pullers[0]?.pull(6);
    await until(() => expect(pullers[0]?.closed).toBe(true));
    // What was used and left open is said all the same.
    await until(() => expect(ops(asked)).toEqual(['acquire', 'renew', 'settle', 'acquire']));
    expect(asked[2]).toMatchObject({ usedBytes: 6 * MIB });
    expect(asked[2]).not.toHaveProperty('unproven');
  });

  it('ends what is under way when the machine slept past the end of the lease, and settles', async () => {
    const { asked, pullers, state } = build([{ outcome: 'granted', grant: grant(0, 10) }]);
    await until(() => expect(pullers[0]?.started).toBe(true));
    state.sleptMs = 9_000;
    await until(() => expect(ops(asked)).toContain('settle'));
    expect(pullers[0]?.closed).toBe(true);
    expect(ops(asked).slice(0, 2)).toEqual(['acquire', 'settle']);
  });

  it('ends a lease of which a connection is lost instead of renewing it, says so, and asks anew', async () => {
    const { pullers, asked } = build([
      { outcome: 'granted', grant: grant(0, 10) },
      { outcome: 'granted', grant: grant(6, 10) },
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    const [puller] = pullers as [FakePuller];
    puller.lost = 1;
    puller.pull(6);
    await until(() => expect(ops(asked)).toEqual(['acquire', 'settle', 'acquire']));
    expect(asked[1]).toMatchObject({
      usedBytes: 6 * MIB,
      unproven: { connections: 1, slackBytes: 1000 },
      unfinished: [6, 7, 8, 9].map((first) => ({ first, count: 1 })),
    });
    await until(() => expect(pullers).toHaveLength(2));
  });

  it('reports why the origin gives nothing, settles with the reason, and waits', async () => {
    const { pullers, asked, failures } = build([{ outcome: 'granted', grant: grant(0, 10) }]);
    await until(() => expect(pullers).toHaveLength(1));
    const error = Object.assign(new Error('the origin answers 404'), {
      code: 'SourceNotFound' as const,
      httpStatus: 404,
    });
    pullers[0]?.end({ kind: 'failed', error });
    await until(() => expect(ops(asked)).toEqual(['acquire', 'settle']));
    expect(failures).toEqual([{ reason: 'SourceNotFound', message: 'the origin answers 404' }]);
    expect(asked[1]).toMatchObject({ failure: { reason: 'SourceNotFound', httpStatus: 404 } });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(asked).toHaveLength(2);
  });

  it('names the mirrors that it knows, and says which one gave nothing', async () => {
    const { loop, pullers, asked, state, failedMirrors } = build([
      WAIT,
      { outcome: 'granted', grant: grant(0, 10, { mirror: 'm1' }) },
    ]);
    await until(() => expect(asked).toHaveLength(1));
    expect(asked[0]).not.toHaveProperty('mirrors');
    state.mirrors = ['m1', 'm2'];
    loop.askNow();
    await until(() => expect(pullers).toHaveLength(1));
    expect(asked[1]).toMatchObject({ op: 'acquire', mirrors: ['m1', 'm2'] });
    expect(pullers[0]?.grants).toMatchObject([{ mirror: 'm1' }]);
    const error = Object.assign(new Error('gone'), {
      code: 'SourceNotFound' as const,
      httpStatus: 404,
    });
    pullers[0]?.end({ kind: 'failed', error });
    await until(() => expect(failedMirrors).toEqual(['m1']));
  });

  it('gives back what it cannot use any more', async () => {
    const given = grant(0, 10, { mirror: 'gone' });
    const { asked, problems, pullers } = build([{ outcome: 'granted', grant: given }]);
    await until(() => expect(ops(asked)).toEqual(['acquire', 'settle']));
    expect(asked[1]).toMatchObject({ usedBytes: 0, unfinished: given.extents });
    expect([pullers.length, problems]).toMatchObject([0, [{ message: 'no such mirror' }]]);
  });

  it('asks when it is called, instead of waiting on', async () => {
    const { loop, asked } = build([WAIT]);
    await until(() => expect(asked).toHaveLength(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    loop.askNow();
    await until(() => expect(asked).toHaveLength(2));
  });

  it('asks for nothing until something is wanted', async () => {
    const { loop, asked, state } = build([WAIT]);
    const want = state.want;
    state.want = undefined;
    await until(() => expect(asked).toHaveLength(1));
    loop.askNow();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(asked).toHaveLength(1);
    state.want = want;
    loop.mayWant();
    await until(() => expect(asked).toHaveLength(2));
  });

  it('does not ask again for what it wants while it waits to be called', async () => {
    const { loop, asked } = build([WAIT]);
    await until(() => expect(asked).toHaveLength(1));
    loop.mayWant();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(asked).toHaveLength(1);
    loop.askNow();
    await until(() => expect(asked).toHaveLength(2));
  });

  it('finishes what it has when no more is wanted, and settles', async () => {
    const topUp = { acceptable: '/w==', wantBytes: 4 * MIB };
    const { asked, pullers, state, loop } = build([
      WAIT,
      { outcome: 'granted', grant: grant(0, 4) },
    ]);
    state.want = { rateBytesPerSecond: 4 * MIB, connections: 1, topUp };
    await until(() => expect(asked).toHaveLength(1));
    loop.askNow();
    await until(() => expect(pullers).toHaveLength(1));
    expect(asked[1]).toMatchObject({ op: 'acquire', topUp, wantRateBytesPerSecond: 4 * MIB });
    expect(loop.expectedBytes()).toBe(MIB);
    state.want = undefined;
    pullers[0]?.pull(4);
    await until(() => expect(ops(asked)).toEqual(['acquire', 'acquire', 'settle']));
    expect(loop.expectedBytes()).toBe(0);
  });

  it('settles what it holds when the process ends', async () => {
    const { abort, done, asked, pullers } = build([
      { outcome: 'granted', grant: grant(0, 2) },
      WAIT,
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    abort.abort();
    await done;
    expect(asked.at(-1)).toMatchObject({
      op: 'settle',
      unfinished: [
        { first: 0, count: 1 },
        { first: 1, count: 1 },
      ],
    });
  });

  it('settles with what it is granted while the process ends, unfinished', async () => {
    const late = Promise.withResolvers<LeaseAnswer>();
    const { abort, done, asked, pullers } = build([
      { outcome: 'granted', grant: grant(0, 2) },
      late.promise,
    ]);
    await until(() => expect(pullers).toHaveLength(1));
    pullers[0]?.pull(1);
    await until(() => expect(ops(asked)).toEqual(['acquire', 'renew']));
    abort.abort();
    await until(() => expect(pullers[0]?.closed).toBe(true));
    late.resolve({ outcome: 'granted', grant: grant(1, 3, { version: 2 }) });
    await done;
    const unfinished = [{ first: 1, count: 3 }];
    expect(asked.at(-1)).toMatchObject({ op: 'settle', version: 2, unfinished });
  });

  it('ends when everything is here', async () => {
    const { done, pullers, state, asked } = build([{ outcome: 'granted', grant: grant(0, 2) }]);
    await until(() => expect(pullers).toHaveLength(1));
    state.complete = true;
    pullers[0]?.pull(2);
    await done;
    expect(ops(asked).at(-1)).toBe('settle');
  });
});
