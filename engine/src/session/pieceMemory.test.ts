import { describe, expect, it } from 'vitest';
import { PieceMemory } from './pieceMemory.ts';

const SIZE = 16;

describe('the memory of pieces', () => {
  it('lends what was kept last, and forgets what was used longest ago', () => {
    const memory = new PieceMemory(2 * SIZE);
    for (const piece of [0, 1]) memory.keep('a', piece, memory.take(SIZE), true);
    memory.lend('a', 0)?.release();
    memory.keep('a', 2, memory.take(SIZE), true);
    expect(memory.lend('a', 0)).toBeDefined();
    expect(memory.lend('a', 1)).toBeUndefined();
    expect(memory.lend('b', 0)).toBeUndefined();
  });

  it('uses memory again that nobody reads any more', () => {
    const memory = new PieceMemory(SIZE);
    const first = memory.take(SIZE);
    memory.keep('a', 0, first, true);
    const loan = memory.lend('a', 0);
    memory.keep('a', 1, memory.take(SIZE), true);
    expect(memory.take(SIZE)).not.toBe(first);
    loan?.release();
    expect(memory.take(SIZE)).toBe(first);
  });

  it('leaves memory alone that others may still read', () => {
    const memory = new PieceMemory(SIZE);
    const first = memory.take(SIZE);
    memory.keep('a', 0, first, false);
    memory.forget('a');
    expect(memory.lend('a', 0)).toBeUndefined();
    expect(memory.take(SIZE)).not.toBe(first);
  });
});
