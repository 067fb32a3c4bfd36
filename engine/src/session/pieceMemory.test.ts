import { describe, expect, it } from 'vitest';
import { LARGE_REQUEST_BYTES } from '../wire/codec.ts';
import { PieceMemory } from './pieceMemory.ts';

const SIZE = 16;

describe('the memory of pieces', () => {
  it('lends what was kept last, and forgets what was used longest ago', () => {
    const memory = new PieceMemory(6 * SIZE);
    for (const piece of [0, 1, 2, 3]) memory.keep('a', piece, memory.take(SIZE), true);
    memory.lend('a', 0)?.release();
    memory.keep('a', 4, memory.take(SIZE), true);
    expect(memory.lend('a', 1)).toBeUndefined();
    expect(memory.lend('b', 0)).toBeUndefined();
    expect(memory.lend('a', 0)).toBeDefined();
  });

  it('uses memory again that nobody reads any more, for shorter pieces too', () => {
    const memory = new PieceMemory(6 * SIZE);
    const first = memory.take(SIZE);
    memory.keep('a', 0, first, true);
    const loan = memory.lend('a', 0);
    memory.forget('a');
    expect(memory.take(SIZE).buffer).not.toBe(first.buffer);
    loan?.release();
    expect(memory.take(SIZE - 1).buffer).toBe(first.buffer);
    const block = memory.takeToSend(SIZE);
    expect(memory.takeToSend(SIZE).bytes.buffer).not.toBe(block.bytes.buffer);
    block.release();
    expect(memory.takeToSend(SIZE - 1).bytes.buffer).toBe(block.bytes.buffer);
  });

  it('leaves memory alone that others may still read', () => {
    const memory = new PieceMemory(SIZE);
    const first = memory.take(SIZE);
    memory.keep('a', 0, first, false);
    memory.forget('a');
    expect(memory.lend('a', 0)).toBeUndefined();
    const second = memory.take(SIZE);
    expect(second.buffer).not.toBe(first.buffer);
    memory.drop(second);
    expect(memory.take(SIZE).buffer).not.toBe(second.buffer);
  });

  it('gives what was kept to what comes in, longest ago first', () => {
    const memory = new PieceMemory(6 * SIZE);
    const kept = [0, 1, 2, 3].map((piece) => {
      const bytes = memory.take(SIZE);
      memory.keep('a', piece, bytes, true);
      return bytes.buffer;
    });
    expect(memory.roomBytes).toBeCloseTo(4 * SIZE);
    expect([0, 1, 2].map(() => memory.take(SIZE).buffer)).toEqual(kept.slice(0, 3));
    expect(memory.roomBytes).toBeCloseTo(SIZE);
    expect(memory.lend('a', 3)?.bytes.buffer).toBe(kept[3]);
    expect(memory.roomBytes).toBeCloseTo(0);
  });

  it('lends only a part, and what is lent twice counts once', () => {
    const memory = new PieceMemory(12 * SIZE);
    for (const piece of [0, 1, 2]) memory.keep('a', piece, memory.take(SIZE), true);
    const loans = [memory.lend('a', 0), memory.lend('a', 1), memory.lend('a', 1)];
    expect(memory.sendingRoomBytes).toBeCloseTo(2 * SIZE);
    expect(memory.lend('a', 2)).toBeUndefined();
    loans[1]?.release();
    expect(memory.lend('a', 2)).toBeUndefined();
    loans[2]?.release();
    expect(memory.lend('a', 2)).toBeDefined();
  });

  it('lends nothing that is larger than what may be lent', () => {
    const memory = new PieceMemory(6 * SIZE);
    memory.keep('a', 0, memory.take(2 * SIZE), true);
    expect(memory.lend('a', 0)).toBeUndefined();
    expect(memory.sendingRoomBytes).toBeCloseTo(2 * SIZE);
    memory.keep('a', 1, memory.take(SIZE), true);
    expect(memory.lend('a', 1)).toBeDefined();
  });

  it('counts blocks that are sent until they are', () => {
    const memory = new PieceMemory(3 * LARGE_REQUEST_BYTES);
    const { release } = memory.takeToSend(SIZE);
    expect(memory.sendingRoomBytes).toBeCloseTo(0);
    release();
    expect(memory.sendingRoomBytes).toBeCloseTo(LARGE_REQUEST_BYTES);
  });

  it('finishes what was begun above the budget, with the same memory again and again', () => {
    const memory = new PieceMemory(SIZE);
    const seen = new Set<ArrayBufferLike>();
    for (let piece = 0; piece < 20; piece += 2) {
      const taken = [memory.take(SIZE), memory.take(SIZE)] as const;
      expect(memory.roomBytes).toBeLessThan(0);
      for (const [at, bytes] of taken.entries()) {
        seen.add(bytes.buffer);
        memory.keep('a', piece + at, bytes, true);
      }
    }
    expect(seen.size).toBeLessThanOrEqual(3);
  });
});
