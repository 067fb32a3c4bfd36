import { describe, expect, it } from 'vitest';
import { ReadTurns } from './readTurns.ts';

describe('turns of reading', () => {
  it('resume every socket that rests, together and once, where there are many', async () => {
    const turns = new ReadTurns();
    const resumed: string[] = [];
    const socket = (name: string) => ({ resume: () => resumed.push(name) });
    for (let read = 0; read < 20; read += 1) turns.rests(socket('busy'));
    const rests = ['a', 'b', 'c', 'd'].map((name) => turns.rests(socket(name)));
    expect(rests).toEqual([false, false, false, true]);
    const after = new Promise<void>((resolve) => {
      turns.rests({ resume: () => resolve() });
    });
    turns.rests(socket('f'));
    expect(resumed).toEqual([]);
    await after;
    await new Promise((resolve) => setImmediate(resolve));
    expect(resumed).toEqual(['d', 'f']);
  });

  it('are not taken where many peers say little: the first piece does not wait for them', () => {
    const turns = new ReadTurns();
    const sockets = Array.from({ length: 20 }, () => ({ resume: () => {} }));
    expect(sockets.map((each) => turns.rests(each))).not.toContain(true);
  });

  it('are not taken with few peers, however often these are read', () => {
    const turns = new ReadTurns();
    const [one, other] = [{ resume: () => {} }, { resume: () => {} }];
    for (let read = 0; read < 100; read += 1) {
      expect(turns.rests(one)).toBe(false);
      expect(turns.rests(other)).toBe(false);
    }
  });
});
