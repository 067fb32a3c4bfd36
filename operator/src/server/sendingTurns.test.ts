import { beforeEach, expect, it } from 'vitest';
import { type Sender, SendingTurns } from './sendingTurns.ts';

const WRITE_MS = 0.1;

let nowMs: number;
let sent: number[];
let turns: SendingTurns;
let next: (() => void) | undefined;

beforeEach(() => {
  nowMs = 0;
  sent = [];
  next = undefined;
  turns = new SendingTurns({
    clock: { now: () => nowMs },
    afterLook: (callback) => {
      next = callback;
    },
  });
});

function sendersOf(count: number): Sender[] {
  return Array.from({ length: count }, (_, at) => ({
    write: () => {
      nowMs += WRITE_MS;
      sent.push(at);
    },
  }));
}

/** Others had the event loop for so long. */
function turn(othersMs: number): void {
  nowMs += othersMs;
  const callback = next;
  next = undefined;
  callback?.();
}

it('few send at once, thousands turn by turn, in the order in which they asked', () => {
  const senders = sendersOf(1_000);
  for (const sender of senders) turns.ask(sender);
  expect(sent).toHaveLength(32);
  // Whoever has more to say before its turn has one turn for it.
  for (const sender of senders.slice(900)) turns.ask(sender);
  turn(1);
  expect(sent).toHaveLength(64);
  for (let at = 0; at < 40; at += 1) turn(1);
  expect(sent).toEqual(senders.map((_, at) => at));
  expect(next, 'nobody waits').toBeUndefined();
  turns.ask(senders[7]!);
  expect(sent.at(-1)).toBe(7);
});

it('where others keep the loop for longer, a turn is as long, up to some bound', () => {
  for (const sender of sendersOf(20_000)) turns.ask(sender);
  const inATurn = (othersMs: number) => {
    const before = sent.length;
    turn(othersMs);
    return sent.length - before;
  };
  expect(inATurn(1)).toBe(32);
  expect(inATurn(100)).toBeGreaterThan(900);
  expect(inATurn(100)).toBeLessThan(1_100);
  expect(inATurn(10_000)).toBeGreaterThan(4_900);
  expect(inATurn(10_000)).toBeLessThan(5_200);
});
