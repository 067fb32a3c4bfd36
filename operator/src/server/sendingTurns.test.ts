import { expect, it } from 'vitest';
import { FakeClock } from '../testing/fakeClock.ts';
import { SendingTurns } from './sendingTurns.ts';

function aSender(sent: string[], name: string) {
  return { write: () => void sent.push(name), writeLists: () => void sent.push(`lists ${name}`) };
}

it('few send at once, thousands turn by turn, in the order in which they asked', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: string[] = [];
  const senders = Array.from({ length: 1_000 }, (_, at) => aSender(sent, `${at}`));
  for (const sender of senders) turns.ask(sender, 'u');
  expect(sent).toHaveLength(32);
  // Whoever has more to say before its turn has one turn for it.
  for (const sender of senders.slice(900)) turns.ask(sender, 'u');
  await clock.advance(10);
  expect(sent.length).toBeLessThan(500);
  await clock.advance(100);
  expect(sent).toEqual(senders.map((_, at) => `${at}`));
  turns.ask(senders[7]!, 'u');
  expect(sent.at(-1)).toBe('7');
});

it('answers and tasks come before most lists of peers, and each of them has its turns', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: string[] = [];
  const all = (kind: string) => Array.from({ length: 400 }, () => aSender(sent, kind));
  for (const sender of all('peers')) turns.askForLists(sender);
  for (const sender of all('task')) turns.ask(sender, 'u');
  for (const sender of all('answer')) turns.ask(sender, '');
  const before = sent.length;
  await clock.advance(10);
  const then = sent.slice(before, before + 160);
  const countOf = (what: string) => then.filter((each) => each === what).length;
  expect([countOf('answer'), countOf('task'), countOf('lists peers')]).toEqual([60, 80, 20]);
  await clock.advance(1_000);
  expect(sent).toHaveLength(1_200);
});

it('the first of another distribution do not wait for thousands of one', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: string[] = [];
  for (let at = 0; at < 1_000; at += 1) turns.ask(aSender(sent, 'large'), 'large');
  for (let at = 0; at < 3; at += 1) turns.ask(aSender(sent, 'small'), 'small');
  const before = sent.length;
  await clock.advance(1);
  expect(sent.slice(before, before + 6).filter((each) => each === 'small')).toHaveLength(3);
  await clock.advance(1_000);
  expect(sent).toHaveLength(1_003);
});

it('whoever is told of many distributions has one turn for them all', async () => {
  const clock = new FakeClock();
  const turns = new SendingTurns(clock);
  const sent: string[] = [];
  const senders = Array.from({ length: 320 }, (_, at) => aSender(sent, `${at}`));
  for (const uid of ['a', 'b', 'c', 'd', '']) for (const sender of senders) turns.ask(sender, uid);
  await clock.advance(12);
  // Who was at once told of the first has another turn for the rest.
  expect(new Set(sent).size).toBe(320);
  expect(sent.length).toBeLessThanOrEqual(320 + 32);
});
