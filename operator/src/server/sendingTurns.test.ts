import type { Clock } from '@sluice/engine/ports/clock.ts';
import { beforeEach, expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { type Sender, SendingTurns } from './sendingTurns.ts';

const WRITE_MS = 0.1;

let clock: FakeClock;
let sent: number[];
/** For how long others keep the event loop between two turns. */
let lagMs: number;
let turns: SendingTurns;

beforeEach(() => {
  clock = new FakeClock();
  sent = [];
  lagMs = 0;
  const busy: Clock = {
    now: () => clock.now() + sent.length * WRITE_MS,
    setTimer: (delayMs, callback) => clock.setTimer(delayMs + lagMs, callback),
  };
  turns = new SendingTurns(busy);
});

function sendersOf(count: number): Sender[] {
  return Array.from({ length: count }, (_, at) => ({ write: () => void sent.push(at) }));
}

it('few send at once, thousands turn by turn, in the order in which they asked', async () => {
  const senders = sendersOf(1_000);
  for (const sender of senders) turns.ask(sender);
  expect(sent).toHaveLength(32);
  // Whoever has more to say before its turn has one turn for it.
  for (const sender of senders.slice(900)) turns.ask(sender);
  await clock.advance(10);
  expect(sent.length).toBeLessThan(500);
  await clock.advance(100);
  expect(sent).toEqual(senders.map((_, at) => at));
  turns.ask(senders[7]!);
  expect(sent.at(-1)).toBe(7);
});

it('where others keep the loop for long, a turn is a part of that', async () => {
  lagMs = 500;
  for (const sender of sendersOf(10_000)) turns.ask(sender);
  await clock.advance(501);
  expect(sent.length).toBeGreaterThan(1_500);
  expect(sent.length).toBeLessThan(2_000);
  await clock.advance(2_600);
  expect(sent).toHaveLength(10_000);
});
