import { expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { SendingTurns } from './sendingTurns.ts';

function aSender(sent: unknown[], name: unknown) {
  return { write: () => void sent.push(name), writeLists: () => void sent.push(`lists ${name}`) };
}

it('few send at once, thousands turn by turn, in the order in which they asked', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: number[] = [];
  const senders = Array.from({ length: 1_000 }, (_, at) => aSender(sent, at));
  for (const sender of senders) turns.ask(sender, 'u');
  expect(sent).toHaveLength(32);
  // Whoever has more to say before its turn has one turn for it.
  for (const sender of senders.slice(900)) turns.ask(sender, 'u');
  await clock.advance(10);
  expect(sent.length).toBeLessThan(500);
  await clock.advance(100);
  expect(sent).toEqual(senders.map((_, at) => at));
  turns.ask(senders[7]!, 'u');
  expect(sent.at(-1)).toBe(7);
});

it('lists of peers come behind what all others have to say', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: unknown[] = [];
  const senders = Array.from({ length: 100 }, (_, at) => aSender(sent, at));
  for (const sender of senders) turns.askForLists(sender);
  for (const sender of senders) turns.ask(sender, 'u');
  const before = sent.length;
  await clock.advance(100);
  expect(sent.slice(before, before + 100)).toEqual(senders.map((_, at) => at));
  expect(sent).toHaveLength(200);
});

it('the first of another distribution do not wait for thousands of one', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: unknown[] = [];
  for (let at = 0; at < 1_000; at += 1) turns.ask(aSender(sent, 'large'), 'large');
  for (let at = 0; at < 3; at += 1) turns.ask(aSender(sent, 'small'), 'small');
  const before = sent.length;
  await clock.advance(1);
  expect(sent.slice(before, before + 7)).toEqual([
    'large',
    'small',
    'large',
    'small',
    'large',
    'small',
    'large',
  ]);
  await clock.advance(1_000);
  expect(sent).toHaveLength(1_003);
});
