import { beforeEach, describe, expect, it } from 'vitest';
import { settle } from '../../testing/fakeClock.ts';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import type { ResolvedSource } from '../dataSide.ts';
import { Asking, type Question } from './asking.ts';

const FOUND = FakeDataSide.source();

let asking: Asking;
let answered: string[];
/** Whom the hosts are asked for, in turn, and what ends it. */
let open: Map<string, { answer: (found: ResolvedSource) => void; fail: (error: Error) => void }>;

beforeEach(() => {
  answered = [];
  open = new Map();
  asking = new Asking((key) => answered.push(key));
});

function question(key: string, host: string, source = host): Question {
  const ask = (signal: AbortSignal) =>
    new Promise<ResolvedSource>((answer, fail) => {
      open.set(key, { answer, fail });
      signal.addEventListener('abort', () => fail(signal.reason));
    }).finally(() => open.delete(key));
  return { source, host, ask };
}

function begin(count: number, hostOf: (at: number) => string, prefix = ''): void {
  for (let at = 0; at < count; at += 1) {
    const key = `${prefix}${at}`;
    asking.begin(key, question(key, hostOf(at)));
  }
}

describe('what origins are asked', () => {
  it('is told of when it is answered, and given once', async () => {
    begin(1, () => 'a');
    expect(asking.isAsking('0', 'a')).toBe(true);
    expect(asking.take('0', 'a')).toBeUndefined();
    open.get('0')?.answer(FOUND);
    await settle();
    expect(answered).toEqual(['0']);
    expect(asking.take('0', 'a')).toEqual({ found: FOUND });
    expect(asking.take('0', 'a')).toBeUndefined();
    expect(asking.isAsking('0', 'a')).toBe(false);
  });

  it('is told of when it fails, too', async () => {
    begin(1, () => 'a');
    const error = new Error('no');
    open.get('0')?.fail(error);
    await settle();
    expect(answered).toEqual(['0']);
    expect(asking.take('0', 'a')).toEqual({ error });
  });

  it('is eight questions at a host at most, and those of other hosts do not wait for them', async () => {
    begin(20, () => 'a');
    begin(1, () => 'b', 'other ');
    expect([...open.keys()]).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', 'other 0']);
    open.get('3')?.answer(FOUND);
    await settle();
    expect(open.has('8')).toBe(true);
    expect(open.size).toBe(9);
  });

  it('is 256 questions in all at most, of hosts that are asked least first', async () => {
    begin(300, (at) => `h${at % 40}`);
    expect(open.size).toBe(256);
    begin(1, () => 'new', 'new ');
    open.get('0')?.answer(FOUND);
    await settle();
    expect(open.size).toBe(256);
    expect(open.has('new 0')).toBe(true);
  });

  it('is asked anew of another source, and what came of the one before is forgotten', async () => {
    asking.begin('k', question('first', 'a', 'one'));
    open.get('first')?.answer(FOUND);
    await settle();
    expect(asking.take('k', 'two')).toBeUndefined();
    expect(asking.isAsking('k', 'one')).toBe(false);
    asking.begin('k', question('second', 'b', 'two'));
    asking.begin('k', question('third', 'c', 'three'));
    await settle();
    expect([...open.keys()], 'the second is given up').toEqual(['third']);
    expect(answered).toEqual(['k']);
  });

  it('goes on when the same is wanted again', () => {
    asking.begin('k', question('first', 'a'));
    asking.begin('k', question('second', 'a'));
    expect([...open.keys()]).toEqual(['first']);
  });

  it('is given up when it is dropped, waiting or not', async () => {
    begin(9, () => 'a');
    asking.drop('8');
    asking.drop('0');
    await settle();
    expect(open.size).toBe(7);
    expect(answered).toEqual([]);
    expect(asking.isAsking('0', 'a')).toBe(false);
  });

  it('has ended when it has stopped, and nothing begins', async () => {
    begin(9, () => 'a');
    await asking.stop();
    expect(open.size).toBe(0);
    expect(answered).toEqual([]);
    begin(1, () => 'a', 'late ');
    expect(open.size).toBe(0);
  });
});
