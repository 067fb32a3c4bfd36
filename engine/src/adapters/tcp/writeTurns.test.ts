import { describe, expect, it } from 'vitest';
import { WriteTurns } from './writeTurns.ts';

describe('turns of writing', () => {
  it('send what was written to a socket together, once a turn', async () => {
    const turns = new WriteTurns();
    const did: string[] = [];
    const socket = (name: string) => ({
      cork: () => did.push(`cork ${name}`),
      uncork: () => did.push(`uncork ${name}`),
    });
    const [a, b] = [socket('a'), socket('b')];
    turns.wait(a);
    turns.wait(b);
    turns.wait(a);
    expect(did).toEqual(['cork a', 'cork b']);
    await new Promise((resolve) => setImmediate(resolve));
    expect(did.slice(2)).toEqual(['uncork a', 'uncork b']);
    turns.wait(a);
    expect(did.at(-1)).toBe('cork a');
    await new Promise((resolve) => setImmediate(resolve));
    expect(did.at(-1)).toBe('uncork a');
  });
});
