import { EventEmitter } from 'node:events';
import { UNREACHABLE_HEADER } from '@sluice/protocol/messages.ts';
import type { Request, Response } from 'express';
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import type { ApiRefusal } from './refusal.ts';
import { Standby } from './standby.ts';

const LEADER = 'https://10.1.2.3:8443';

class Asked extends EventEmitter {
  outcome: string | undefined;
  /** Answers 102. */
  processing = 0;
  readonly headers: Record<string, string> = {};
  readonly request: Request;

  constructor(method: string, path: string, headers: Readonly<Record<string, string | undefined>>) {
    super();
    const get = (name: string) => headers[name];
    this.request = { method, path, originalUrl: `/v1${path}`, get } as unknown as Request;
  }

  status(status: number) {
    this.outcome = `${status}`;
    return this;
  }

  location(location: string) {
    this.outcome += ` ${location}`;
  }

  json() {}

  writeProcessing() {
    this.processing += 1;
  }

  set(name: string, value: string) {
    this.headers[name] = value;
  }
}

let clock: FakeClock;
let election: {
  isLeader: boolean;
  leaderUrl: string | undefined;
  answers: boolean | undefined;
  renewalSeenMs: number;
};
let standby: Standby;
let isKnown: boolean;

beforeEach(() => {
  clock = new FakeClock();
  isKnown = true;
  election = { isLeader: false, leaderUrl: undefined, answers: true, renewalSeenMs: 0 };
  standby = new Standby({
    clock,
    isLeader: () => election.isLeader,
    leaderUrl: () => election.leaderUrl,
    leaderAnswers: () => election.answers,
    renewalSeenMs: () => election.renewalSeenMs,
    isKnown: () => isKnown,
  });
});

function ask(path = '/work', method = 'GET', unreachable?: string, prefer?: string): Asked {
  const asked = new Asked(method, path, { [UNREACHABLE_HEADER]: unreachable, prefer });
  standby.handle(asked.request, asked as unknown as Response, (error?: unknown) => {
    const refusal = error as ApiRefusal | undefined;
    asked.outcome = refusal === undefined ? 'served' : `${refusal.status} ${refusal.code}`;
  });
  return asked;
}

const countOf = (all: readonly Asked[], outcome: string) =>
  all.filter((asked) => asked.outcome?.startsWith(outcome)).length;

describe('while nobody leads', () => {
  it('requests for work are held, and served here when this replica is next', async () => {
    const all = Array.from({ length: 250 }, () => ask());
    await clock.advance(1_000);
    expect(countOf(all, '')).toBe(0);
    election.isLeader = true;
    election.leaderUrl = 'https://10.1.2.2:8443';
    await clock.advance(60);
    expect(countOf(all, 'served')).toBe(100);
    expect(countOf(all, '307')).toBe(0);
    await clock.advance(100);
    expect(countOf(all, 'served')).toBe(250);
    expect(ask().outcome).toBe('served');
  });

  it('or sent on at a pace when another one is, first come, first served', async () => {
    const all = Array.from({ length: 100 }, () => ask());
    election.leaderUrl = LEADER;
    await clock.advance(60);
    expect(all.map(({ outcome }) => outcome !== undefined).lastIndexOf(true)).toBe(24);
    const late = ask();
    await clock.advance(500);
    expect(countOf([...all, late], `307 ${LEADER}/v1/work`)).toBe(101);
    expect(ask().outcome).toBe(`307 ${LEADER}/v1/work`);
  });

  it('but no longer than clients wait: then they are to ask again, at once', async () => {
    const asked = ask();
    await clock.advance(2_900);
    expect(asked.outcome).toBeUndefined();
    await clock.advance(200);
    expect([asked.outcome, asked.headers['retry-after']]).toEqual(['503 NotLeading', '0']);
  });

  it('one by which reports go up is not ended: it hears that it is held, and is served', async () => {
    const asked = ask('/work', 'POST');
    await clock.advance(2_900);
    expect(asked.processing).toBe(0);
    await clock.advance(6_200);
    expect([asked.outcome, asked.processing]).toEqual([undefined, 3]);
    election.isLeader = true;
    await clock.advance(60);
    expect(asked.outcome).toBe('served');
  });

  it('and hears so twice in the time that it prefers to wait', async () => {
    const asked = [
      ask('/work', 'POST', undefined, 'wait=15'),
      ask('/work', 'POST', undefined, '?'),
    ];
    await clock.advance(15_200);
    expect(asked.map(({ processing }) => processing)).toEqual([2, 5]);
  });

  it('whoever went away is answered nothing', async () => {
    const asked = ask();
    asked.emit('close');
    election.isLeader = true;
    await clock.advance(100);
    expect(asked.outcome).toBeUndefined();
  });

  it('whoever is not known is not held', () => {
    isKnown = false;
    expect(ask().outcome).toBe('503 NotLeading');
  });

  it('everything else is refused, and sent on at once when somebody leads', () => {
    expect(ask('/reports', 'POST').outcome).toBe('503 NotLeading');
    election.leaderUrl = LEADER;
    expect(ask('/leases', 'POST').outcome).toBe(`307 ${LEADER}/v1/leases`);
  });
});

it('whoever has not reached the leader is held until there is another one', async () => {
  election.leaderUrl = LEADER;
  const asked = ask('/work', 'GET', LEADER);
  const other = ask('/work', 'GET', 'https://10.9.9.9:8443');
  await clock.advance(1_000);
  expect(asked.outcome).toBeUndefined();
  expect(other.outcome).toBe(`307 ${LEADER}/v1/work`);
  election.leaderUrl = 'https://10.1.2.4:8443';
  await clock.advance(60);
  expect(asked.outcome).toBe('307 https://10.1.2.4:8443/v1/work');
});

it('nobody is sent to a leader of whom it is not known that it answers', async () => {
  Object.assign(election, { leaderUrl: LEADER, answers: undefined });
  const all = [ask(), ask('/work', 'POST')];
  expect(ask('/leases', 'POST').outcome).toBe(`307 ${LEADER}/v1/leases`);
  await clock.advance(60);
  expect(all.map(({ outcome }) => outcome)).toEqual([undefined, undefined]);
  election.answers = false;
  await clock.advance(60);
  expect(all.map(({ outcome }) => outcome)).toEqual([undefined, undefined]);
  election.answers = true;
  await clock.advance(60);
  expect(countOf(all, `307 ${LEADER}/v1/work`)).toBe(2);
});

it('unless it renews its Lease: then only this replica does not reach it, and nobody waits any more', async () => {
  Object.assign(election, { leaderUrl: LEADER, answers: false });
  const asked = ask('/work', 'POST');
  await clock.advance(3_100);
  expect(asked.outcome).toBeUndefined();
  election.renewalSeenMs = clock.now();
  await clock.advance(60);
  expect(asked.outcome).toBe(`307 ${LEADER}/v1/work`);
  // Those of the release before ask anew each 3 s.
  expect(ask().outcome).toBe(`307 ${LEADER}/v1/work`);
  election.answers = undefined;
  expect(ask().outcome).toBe(`307 ${LEADER}/v1/work`);
  // It has died since.
  await clock.advance(3_100);
  expect(ask().outcome).toBeUndefined();
  // Another one is not this one.
  Object.assign(election, { leaderUrl: 'https://10.1.2.4:8443', answers: false });
  expect(ask().outcome).toBeUndefined();
});

it('whoever has not reached a leader that lives is sent there again', async () => {
  election.leaderUrl = LEADER;
  await clock.advance(10_000);
  const asked = ask('/work', 'POST', LEADER);
  await clock.advance(2_900);
  // Of a leader that has died since it may be the last one, seen late.
  election.renewalSeenMs = clock.now();
  await clock.advance(2_000);
  expect(asked.outcome).toBeUndefined();
  election.renewalSeenMs = clock.now();
  await clock.advance(60);
  expect(asked.outcome).toBe(`307 ${LEADER}/v1/work`);
});

it('no more than 20,000 are held', () => {
  for (let count = 0; count < 20_000; count += 1) ask();
  expect(ask().outcome).toBe('503 NotLeading');
});
