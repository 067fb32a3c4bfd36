import { describe, expect, it } from 'vitest';
import { Suspects } from './suspects.ts';

describe('who sent wrong bytes', () => {
  it('is the sole sender, at once', () => {
    const suspects = new Suspects();
    expect(suspects.mismatch(3, Buffer.of(1, 2), Int32Array.of(7, 7))).toBe(7);
    expect(suspects.verified(3, Buffer.of(1, 9), 1)).toEqual(new Set());
  });

  it('is found block by block when the right bytes are here, and nobody else', () => {
    const suspects = new Suspects();
    expect(suspects.mismatch(3, Buffer.of(1, 2, 3), Int32Array.of(7, 8, 7))).toBeUndefined();
    expect(suspects.verified(4, Buffer.of(0, 0, 0), 1)).toEqual(new Set());
    expect(suspects.verified(3, Buffer.of(1, 9, 3), 1)).toEqual(new Set([8]));
    expect(suspects.verified(3, Buffer.of(9, 9, 9), 1)).toEqual(new Set());
  });

  it('is found for the pieces of late, however many before never verified', () => {
    const suspects = new Suspects();
    for (let piece = 0; piece < 10; piece += 1) {
      suspects.mismatch(piece, Buffer.of(1, 2), Int32Array.of(7, 8));
    }
    expect(suspects.verified(0, Buffer.of(9, 2), 1)).toEqual(new Set());
    expect(suspects.verified(9, Buffer.of(9, 2), 1)).toEqual(new Set([7]));
  });
});
