import { describe, expect, it } from 'vitest';
import { type ConductFacts, faultOf, UselessMessages } from './conduct.ts';

const SECOND = 1000;
const good: ConductFacts = {
  side: 'opener',
  lastReceivedAtMs: 0,
  lastBlockAtMs: 0,
  outstandingBytes: 0,
  queuedBytes: 0,
  lastTakenAtMs: 0,
};

describe('what a peer is left for', () => {
  it.each([
    { fault: undefined, facts: { outstandingBytes: 1 }, atMs: 10 * SECOND },
    { fault: 'Silent', facts: { outstandingBytes: 1 }, atMs: 11 * SECOND },
    { fault: undefined, facts: { outstandingBytes: 0 }, atMs: 3600 * SECOND },
    {
      fault: undefined,
      facts: { outstandingBytes: 1, lastReceivedAtMs: 60 * SECOND },
      atMs: 60 * SECOND,
    },
    {
      fault: 'Stalled',
      facts: { outstandingBytes: 1, lastReceivedAtMs: 61 * SECOND },
      atMs: 61 * SECOND,
    },
    { fault: undefined, facts: { side: 'acceptor' as const }, atMs: 180 * SECOND },
    { fault: 'Idle', facts: { side: 'acceptor' as const }, atMs: 181 * SECOND },
    { fault: 'NotReading', facts: { queuedBytes: 9 * 1024 * 1024 }, atMs: 0 },
    { fault: undefined, facts: { queuedBytes: 1 }, atMs: 30 * SECOND },
    { fault: 'NotReading', facts: { queuedBytes: 1 }, atMs: 31 * SECOND },
    {
      fault: undefined,
      facts: { queuedBytes: 1, lastTakenAtMs: 10 * SECOND },
      atMs: 31 * SECOND,
    },
    { fault: undefined, facts: { queuedBytes: 0 }, atMs: 3600 * SECOND },
  ])('$fault with $facts after $atMs ms', ({ fault, facts, atMs }) => {
    expect(faultOf({ ...good, ...facts }, atMs)).toBe(fault);
  });
});

describe('messages that tell nothing', () => {
  it('are borne for ever at 100 a second', () => {
    const useless = new UselessMessages();
    for (let at = 0; at < 10_000; at += 1) expect(useless.add(at * 10)).toBe(false);
  });

  it('are too many at once after two thousand', () => {
    const useless = new UselessMessages();
    const answers = Array.from({ length: 3000 }, () => useless.add(5));
    expect(answers.indexOf(true)).toBe(2048);
  });
});
