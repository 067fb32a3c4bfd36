import { describe, expect, it } from 'vitest';
import { ReadTurns } from './readTurns.ts';

describe('turns of reading', () => {
  it('resume every socket that waits, together and once', async () => {
    const turns = new ReadTurns();
    const resumed: string[] = [];
    const socket = (name: string) => ({ resume: () => resumed.push(name) });
    const after = new Promise<void>((resolve) => {
      turns.wait(socket('a'));
      turns.wait({ resume: () => resolve() });
    });
    turns.wait(socket('b'));
    expect(resumed).toEqual([]);
    await after;
    await new Promise((resolve) => setImmediate(resolve));
    expect(resumed).toEqual(['a', 'b']);
  });
});
