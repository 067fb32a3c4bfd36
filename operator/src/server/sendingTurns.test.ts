import { expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { SendingTurns } from './sendingTurns.ts';

it('few send at once, thousands turn by turn, in the order in which they asked', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: number[] = [];
  const senders = Array.from({ length: 1_000 }, (_, at) => ({ write: () => void sent.push(at) }));
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
