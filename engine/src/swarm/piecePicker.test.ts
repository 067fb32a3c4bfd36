import { describe, expect, it } from 'vitest';
import { Bitfield } from '../pieces/bitfield.ts';
import { type Block, PiecePicker } from './piecePicker.ts';

const BLOCK = 10;

function pickerOf(pieceCount: number, pieceBytes = 2 * BLOCK) {
  const picker = new PiecePicker({
    pieceCount,
    blockBytes: BLOCK,
    pieceSizeBytes: () => pieceBytes,
    random: () => 0.5,
  });
  for (let piece = 0; piece < pieceCount; piece += 1) picker.name(piece, true);
  return picker;
}

const within = (ms: number) => ({ helpMs: ms, lateMs: ms });

function field(size: number, ...pieces: number[]): Bitfield {
  const bits = new Bitfield(size);
  for (const piece of pieces) bits.add(piece);
  return bits;
}

describe('what is asked of a peer next', () => {
  it('is the rarest piece that it has and that the feed names', () => {
    const picker = pickerOf(3);
    for (const piece of [0, 0, 1, 1, 2]) picker.peerHas(piece);
    expect(picker.next(1, field(3, 0, 1, 2))?.piece).toBe(2);
    const other = pickerOf(3);
    for (const piece of [0, 0, 1, 2]) other.peerHas(piece);
    other.name(2, false);
    expect(other.next(1, field(3, 0, 1, 2))?.piece).toBe(1);
    expect(pickerOf(3).next(1, field(3))).toBeUndefined();
  });

  it('is the rest of a piece that is begun before a new one', () => {
    const picker = pickerOf(2);
    const first = picker.next(1, field(2, 0));
    expect(first).toEqual({ piece: 0, offset: 0, length: BLOCK });
    picker.asked(1, { piece: 0, offset: 0, length: BLOCK }, 0, within(100));
    expect(picker.next(1, field(2, 0, 1))).toEqual({
      piece: 0,
      offset: BLOCK,
      length: BLOCK,
    });
  });

  it('is a block of another peer only when that is past its deadline', () => {
    const picker = pickerOf(1, BLOCK);
    const block = picker.next(1, field(1, 0));
    picker.asked(1, block as NonNullable<typeof block>, 0, within(100));
    expect(picker.latest(2, field(1, 0), 99)).toBeUndefined();
    expect(picker.latest(1, field(1, 0), 101)).toBeUndefined();
    expect(picker.latest(2, field(1, 0), 101)).toEqual(block);
    picker.asked(2, block as NonNullable<typeof block>, 0, within(200));
    expect(picker.arrived(1, 0, 0)).toEqual({ complete: true, other: 2 });
  });

  it('is all of a piece from one peer when a mixture was wrong', () => {
    const picker = pickerOf(1, 3 * BLOCK);
    const has = field(1, 0);
    picker.doubt(0);
    const ask = (peer: number, nowMs = 0) => {
      const block = picker.next(peer, has) ?? picker.latest(peer, has, nowMs);
      if (block !== undefined) picker.asked(peer, block, nowMs, within(100));
      return block && block.offset / BLOCK;
    };
    expect([ask(1), ask(2), ask(1)]).toEqual([0, undefined, 1]);
    // What is late may come from another one; what was not asked for yet is the first one's.
    expect([ask(2, 101), ask(2, 101), ask(2, 101)]).toEqual([0, 1, undefined]);
    // When that one has left it is the next one's.
    picker.peerLeft(1, has);
    expect([ask(3), ask(2)]).toEqual([2, undefined]);
    for (const index of [0, 1, 2]) picker.arrived(3, 0, index * BLOCK);
    picker.leaveActive(0, 'verifying');
    picker.enter(0, 'held');
    picker.enter(0, 'missing');
    // It was right: that was the end of the doubt.
    expect([ask(1), ask(2), ask(3)]).toEqual([0, 1, 2]);
  });

  it('is late the later, the more peers were asked', () => {
    const picker = pickerOf(1, BLOCK);
    const block = { piece: 0, offset: 0, length: BLOCK };
    picker.next(1, field(1, 0));
    let nowMs = 0;
    const waits = [1, 2, 3, 4].map((peer) => {
      picker.asked(peer, block, nowMs, within(100));
      let waitedMs = 0;
      while (picker.latest(9, field(1, 0), nowMs + waitedMs) === undefined) waitedMs += 1;
      nowMs += waitedMs;
      return waitedMs - 1;
    });
    expect(waits).toEqual([100, 200, 400, 800]);
    // Whom it is asked of after all of them have left has as long as the first.
    for (const peer of [1, 2, 3, 4]) picker.rejected(peer, block);
    picker.asked(5, block, nowMs, within(100));
    expect(picker.latest(9, field(1, 0), nowMs + 101)).toEqual(block);
  });

  it('is what a peer owed that left or refused', () => {
    for (const lose of ['left', 'refused']) {
      const picker = pickerOf(1, BLOCK);
      const block = { piece: 0, offset: 0, length: BLOCK };
      picker.next(1, field(1, 0));
      picker.asked(1, block, 0, within(100));
      if (lose === 'left') picker.peerLeft(1, field(1, 0));
      else picker.rejected(1, block);
      expect(picker.next(1, field(1, 0))).toEqual(block);
    }
  });

  it('is one of a piece that is begun, while there is no memory for another', () => {
    const picker = pickerOf(2);
    expect(picker.next(1, field(2, 0, 1), false)).toBeUndefined();
    const begun = picker.next(1, field(2, 1));
    expect(begun).toMatchObject({ piece: 1 });
    expect(picker.next(1, field(2, 0, 1), false)).toEqual(begun);
    expect(picker.next(1, field(2, 0), false)).toBeUndefined();
  });

  it('never is a piece that HTTP brings, and such a piece keeps what peers sent', () => {
    const picker = pickerOf(1);
    picker.next(1, field(1, 0));
    picker.asked(1, { piece: 0, offset: 0, length: BLOCK }, 0, within(0));
    picker.arrived(1, 0, 0);
    expect([...picker.leaveActive(0, 'taken')]).toEqual([1, 0]);
    expect(picker.next(1, field(1, 0))).toBeUndefined();
    expect(picker.wants(0, BLOCK)).toBe(false);
    expect(() => picker.enter(0, 'held')).toThrow('piece 0: taken -> held');
  });
});

describe('a piece that is begun', () => {
  const block = { piece: 0, offset: 0, length: BLOCK };

  it('is stuck when a block is past its deadline', () => {
    const picker = pickerOf(1);
    picker.next(1, field(1, 0));
    picker.asked(1, block, 0, within(100));
    expect(picker.isStuck(0, 99)).toBe(false);
    expect(picker.isStuck(0, 101)).toBe(true);
  });

  it('is stuck when those who were asked have left and nobody else was', () => {
    const picker = pickerOf(1);
    picker.next(1, field(1, 0));
    picker.asked(1, block, 0, within(100));
    picker.asked(2, { ...block, offset: BLOCK }, 0, within(100));
    picker.arrived(1, 0, 0);
    expect(picker.isStuck(0, 50)).toBe(false);
    picker.peerLeft(2, field(1, 0));
    expect(picker.isStuck(0, 50)).toBe(true);
  });
});

describe('whether it is worth asking again', () => {
  it('is told of a piece that a peer has come to have: missing, or with blocks nobody sends', () => {
    const picker = pickerOf(1, 2 * BLOCK);
    const has = field(1, 0);
    expect(picker.mayAsk(0)).toBe(true);
    const asked = (block: Block | undefined) => picker.asked(1, block as Block, 0, within(100));
    asked(picker.next(1, has));
    expect(picker.mayAsk(0)).toBe(true);
    asked(picker.next(1, has));
    expect(picker.mayAsk(0)).toBe(false);
    picker.rejected(1, { piece: 0, offset: BLOCK });
    expect(picker.mayAsk(0)).toBe(true);
    picker.name(0, false);
    expect(picker.mayAsk(0)).toBe(true);
  });

  it('is told by a number that grows when something may be asked for', () => {
    const picker = pickerOf(3, BLOCK);
    for (const piece of [0, 1]) picker.peerHas(piece);
    const versions = [picker.version];
    const step = (act: () => unknown) => {
      act();
      versions.push(picker.version);
    };
    const block = { piece: 0, offset: 0, length: BLOCK };
    step(() => picker.next(1, field(3, 0)));
    step(() => picker.asked(1, block, 0, within(100)));
    step(() => picker.rejected(1, block));
    step(() => picker.name(1, false));
    step(() => picker.name(1, true));
    step(() => picker.name(2, false));
    // Nobody has it.
    step(() => picker.name(2, true));
    step(() => picker.leaveActive(0, 'missing'));
    const grew = versions.slice(1).map((version, at) => version > (versions[at] as number));
    expect(grew).toEqual([false, false, true, false, true, false, false, true]);
  });
});
