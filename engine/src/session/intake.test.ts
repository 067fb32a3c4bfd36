import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Bitfield } from '../pieces/bitfield.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PieceStore } from '../ports/pieceStore.ts';
import { VirtualClock } from '../sim/virtualClock.ts';
import { PiecePicker } from '../swarm/piecePicker.ts';
import { Intake } from './intake.ts';
import { PieceMemory } from './pieceMemory.ts';

const PIECE = 262_144;
const BLOCK = PIECE / 4;

const origin = Buffer.alloc(PIECE, 'origin');
const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

const within = (ms: number) => ({ helpMs: ms, lateMs: ms });

/** Pieces of equal bytes, named like them, and what became of those that came. */
class Fixture {
  readonly names: (Buffer | undefined)[];
  readonly clock = new VirtualClock();
  readonly memory = new PieceMemory();
  readonly picker: PiecePicker;
  readonly intake: Intake;
  readonly stored: { piece: number; hash: string; isFirstHand: boolean }[] = [];
  isSigning = false;

  constructor(pieceCount = 1) {
    const layout = layoutOf([{ path: 'file', sizeBytes: pieceCount * PIECE }], PIECE);
    this.names = new Array(pieceCount).fill(hashOf(origin));
    this.picker = new PiecePicker({
      pieceCount,
      blockBytes: BLOCK,
      pieceSizeBytes: () => PIECE,
      random: () => 0,
    });
    for (let piece = 0; piece < pieceCount; piece += 1) this.picker.name(piece, true);
    const put: PieceStore['put'] = async (_, bytes, expected) => {
      const hash = hashOf(bytes);
      return { stored: expected === undefined || hash.equals(expected), hash };
    };
    const copy: PieceStore['copy'] = async (_, hash) => ({ stored: true, hash });
    this.intake = new Intake(
      { owner: 'a', layout, store: { put, copy } as PieceStore, blockBytes: BLOCK },
      {
        clock: this.clock,
        memory: this.memory,
        picker: this.picker,
        feed: { hashOf: (piece) => this.names[piece] },
        onHttpPayload: () => {},
        isSigning: () => this.isSigning,
        onStored: (piece, hash, isFirstHand) =>
          this.stored.push({ piece, hash: Buffer.from(hash).toString('hex'), isFirstHand }),
        onFreed: () => {},
        onGuilty: () => {},
        onBroken: (error) => {
          throw error;
        },
      },
    );
  }

  /** One block of it is asked of a peer, which sends these bytes. */
  receive(piece: number, index: number, bytes: Uint8Array, from = 1): void {
    const block = { piece, offset: index * BLOCK, length: BLOCK };
    if (this.picker.state(piece) === 'missing') {
      const has = new Bitfield(this.names.length);
      has.add(piece);
      this.picker.next(1, has);
    }
    const sender = { number: from, dropTarget: () => {} };
    this.intake.reserve(piece);
    this.picker.asked(from, block, 0, within(1000));
    this.intake.blockBegins(sender, block)?.set(bytes.subarray(block.offset, block.offset + BLOCK));
    this.intake.blockEnds(sender, block);
  }
}

const wrong = Buffer.alloc(PIECE, 'peers');

describe('the intake: what is signed here, or kept', () => {
  it('is what the origin gave, and nothing that peers had sent before', async () => {
    const here = new Fixture();
    here.receive(0, 1, wrong);
    here.isSigning = true;
    const assembly = here.intake.assemble(0, 'origin');
    expect(assembly?.missing()).toEqual([{ offset: 0, length: PIECE }]);
    assembly?.write(0, origin);
    expect(await assembly?.finish()).toBe('verified');
    const hash = hashOf(origin).toString('hex');
    expect(here.stored).toEqual([{ piece: 0, hash, isFirstHand: true }]);
  });

  it('is not a mixture that was begun before it signed', async () => {
    const here = new Fixture();
    here.receive(0, 1, wrong);
    const assembly = here.intake.assemble(0, 'origin');
    here.isSigning = true;
    for (const { offset, length } of assembly?.missing() ?? []) {
      assembly?.write(offset, origin.subarray(offset, offset + length));
    }
    expect(await assembly?.finish()).toBe('mismatch');
    expect(here.stored).toEqual([]);
  });

  it('keeps what peers had sent where it is verified: only the rest is fetched', async () => {
    const here = new Fixture();
    here.receive(0, 0, origin);
    const assembly = here.intake.assemble(0, 'origin');
    const gaps = assembly?.missing() ?? [];
    expect(gaps.map(({ offset }) => offset)).toEqual([BLOCK, 2 * BLOCK, 3 * BLOCK]);
    for (const { offset, length } of gaps) {
      assembly?.write(offset, origin.subarray(offset, offset + length));
    }
    expect(await assembly?.finish()).toBe('verified');
    expect(here.stored).toMatchObject([{ isFirstHand: false }]);
  });

  it('is nothing whose name was withdrawn while it came from the origin', async () => {
    const here = new Fixture();
    const assembly = here.intake.assemble(0, 'origin');
    assembly?.write(0, wrong);
    here.names[0] = undefined;
    expect(await assembly?.finish()).toBe('mismatch');
    expect(here.stored).toEqual([]);
    expect(here.picker.state(0)).toBe('missing');
    expect(here.memory.roomBytes).toBe(new PieceMemory().roomBytes);
  });
});

describe('the intake: its memory', () => {
  it('comes back when a piece is given up that peers had begun to send', () => {
    const here = new Fixture(2);
    const { roomBytes } = here.memory;
    for (const piece of [0, 1]) {
      here.receive(piece, 0, origin);
      expect(here.memory.roomBytes).toBe(roomBytes - PIECE);
      here.intake.giveUp(piece);
      expect(here.memory.roomBytes).toBe(roomBytes);
    }
    expect(here.intake.comingIn).toBe(0);
  });
});

describe('the intake: what a node that is short takes from peers', () => {
  const may = ({ intake }: Fixture) => [0, 1].map((piece) => intake.mayTopUp(piece));

  /** One more block of it is asked for, and would be in time for an hour. */
  function ask(here: Fixture, piece: number, index: number): void {
    here.picker.asked(1, { piece, offset: index * BLOCK, length: BLOCK }, 0, within(3_600_000));
  }

  async function pass(here: Fixture, ms: number): Promise<void> {
    await here.clock.run(() => false, ms);
  }

  it('is nothing while there is a piece that nobody has begun', async () => {
    const here = new Fixture(2);
    here.receive(0, 0, origin);
    ask(here, 0, 1);
    await pass(here, 60_000);
    expect(may(here)).toEqual([false, true]);
  });

  it('is a piece that comes slowly when nothing else is left, and by top-up alone', async () => {
    const here = new Fixture(2);
    const other = here.intake.assemble(1, 'relayHttp', true);
    here.receive(0, 0, origin);
    ask(here, 0, 1);
    await pass(here, 500);
    expect(may(here)).toEqual([false, false]);
    // A quarter in 2 s: the rest would take 6.
    await pass(here, 1500);
    expect(may(here)).toEqual([true, false]);
    expect(here.intake.assemble(0, 'origin')).toBeUndefined();
    const gaps = here.intake.assemble(0, 'origin', true)?.missing() ?? [];
    expect(gaps.map(({ offset }) => offset)).toEqual([BLOCK, 2 * BLOCK, 3 * BLOCK]);
    other?.abort();
  });

  it('is not a piece of which most is here', async () => {
    const here = new Fixture(1);
    for (const index of [0, 1, 2]) here.receive(0, index, origin);
    ask(here, 0, 3);
    await pass(here, 10_000);
    expect(here.intake.mayTopUp(0)).toBe(false);
    await pass(here, 10_000);
    expect(here.intake.mayTopUp(0)).toBe(true);
  });

  it('is left to peers when HTTP has given it up too often', async () => {
    const here = new Fixture(1);
    for (let round = 0; round < 3; round += 1) {
      here.receive(0, 0, origin);
      ask(here, 0, 1);
      await pass(here, 5000);
      here.intake.assemble(0, 'relayHttp', true)?.abort();
      expect(here.picker.state(0)).toBe('missing');
    }
    here.receive(0, 0, origin);
    ask(here, 0, 1);
    await pass(here, 5000);
    expect(here.intake.mayTopUp(0)).toBe(false);
  });

  it('is what is late, as often; and what nobody is asked for, always', async () => {
    const here = new Fixture(1);
    const block = { piece: 0, offset: BLOCK, length: BLOCK };
    const late = async () => {
      here.receive(0, 0, origin);
      here.picker.asked(1, block, here.clock.now(), within(100));
      await pass(here, 200);
    };
    for (let round = 0; round < 3; round += 1) {
      await late();
      here.intake.assemble(0, 'relayHttp', true)?.abort();
      expect(here.picker.state(0)).toBe('missing');
    }
    await late();
    expect(here.intake.mayTopUp(0)).toBe(false);
    expect(here.intake.assemble(0, 'relayHttp', true)).toBeUndefined();
    // Who must pull it may.
    expect(here.intake.mayAssemble(0)).toBe(true);
    here.picker.rejected(1, block);
    expect(here.intake.mayTopUp(0)).toBe(true);
  });
});

describe('the intake: who waits for more to give', () => {
  const never = new AbortController().signal;

  it('is told of a piece that an earlier version had', async () => {
    const { intake } = new Fixture();
    const arrival = intake.arrival(never);
    intake.copy(0, hashOf(origin));
    await arrival;
  });

  it('is told when a piece that is here may have got its name', async () => {
    const { intake } = new Fixture();
    const arrival = intake.arrival(never);
    intake.feedGrew();
    await arrival;
  });
});
