import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Spread } from './spread.ts';

const MIB = 1024 * 1024;

/** Agents 1 to n, and so many pieces that have just come. */
function spreadOf(agents: number, pieces: number, pieceLengthBytes = 256 * 1024) {
  const spread = new Spread({ pieceCount: 1000, pieceLengthBytes });
  for (let agent = 1; agent <= agents; agent += 1) spread.join(agent);
  for (let piece = 0; piece < pieces; piece += 1) spread.gained(piece, 0);
  return spread;
}

const piecesOf = (offers: readonly { piece: number }[]) => offers.map(({ piece }) => piece);

describe('what a relay shows to its agents', () => {
  it('is a piece anew, after it was lost, when it is back', () => {
    const spread = spreadOf(3, 2);
    const before = spread.announcements(0, true).offers;
    expect(piecesOf(before)).toEqual([0, 1]);
    spread.lost(0);
    for (const agent of [1, 2, 3]) expect(spread.wasShown(agent, 0)).toBe(false);
    expect(spread.isForAll(0)).toBe(false);
    expect(piecesOf(spread.announcements(5_000, true).offers)).not.toContain(0);
    spread.gained(0, 6_000);
    expect(piecesOf(spread.announcements(6_000, true).offers)).toContain(0);
  });

  it('is again what all were shown, after it was lost', () => {
    const spread = spreadOf(2, 1);
    spread.taken(1, 0, 0);
    spread.taken(2, 0, 0);
    expect(spread.announcements(0, true).toAll).toEqual([0]);
    spread.lost(0);
    expect(spread.isForAll(0)).toBe(false);
    spread.gained(0, 1_000);
    expect(spread.announcements(1_000, true).toAll).toEqual([0]);
  });

  it('is as much as before after offers of what was lost', () => {
    const spread = spreadOf(4, 12);
    expect(spread.announcements(0, true).offers).toHaveLength(12);
    for (let piece = 0; piece < 12; piece += 1) spread.lost(piece);
    for (let piece = 20; piece < 40; piece += 1) spread.gained(piece, 10);
    expect(spread.announcements(10, true).offers).toHaveLength(12);
  });

  it('is each piece to one of them first, in their order, and few at a time', () => {
    const spread = spreadOf(4, 100);
    const { offers, toAll } = spread.announcements(0, true);
    expect(toAll).toEqual([]);
    expect(piecesOf(offers)).toEqual(Array.from({ length: 12 }, (_, piece) => piece));
    for (const agent of [1, 2, 3, 4]) {
      expect(offers.filter((offer) => offer.agent === agent)).toHaveLength(3);
    }
    expect(spread.announcements(50, true)).toEqual({ offers: [], toAll: [] });
  });

  it('is another one to who has taken what was offered', () => {
    const spread = spreadOf(4, 100);
    const [first] = spread.announcements(0, true).offers;
    if (first === undefined) throw new Error('no offer');
    spread.taken(first.agent, first.piece, 100);
    const { offers } = spread.announcements(100, true);
    // It took it soon: one more than before, for the one that is taken.
    expect(offers).toEqual([
      { agent: first.agent, piece: 12 },
      { agent: first.agent, piece: 13 },
    ]);
  });

  it('is less to who takes long, and what came first to who is quick', () => {
    const spread = spreadOf(2, 100);
    const mine = piecesOf(spread.announcements(0, true).offers.filter(({ agent }) => agent === 1));
    for (const piece of mine) spread.taken(1, piece, 1500);
    const { offers } = spread.announcements(1500, true);
    expect(offers.filter(({ agent }) => agent === 1)).toHaveLength(1);
  });

  it('is few large pieces, as many as the uplink gave away lately', () => {
    const spread = spreadOf(100, 500, MIB);
    let open = piecesOf(spread.announcements(0, true).offers).length;
    expect(open).toBe(4);
    for (let nowMs = 250; nowMs <= 2500; nowMs += 250) {
      // Forty a second are taken.
      const agents = Array.from({ length: 100 }, (_, at) => at + 1);
      let left = 10;
      for (const agent of agents) {
        for (let piece = 0; piece < 500 && left > 0; piece += 1) {
          if (!spread.wasShown(agent, piece) || spread.copies(piece) > 0) continue;
          spread.taken(agent, piece, nowMs);
          left -= 1;
        }
      }
      open = spread.announcements(nowMs, true).offers.length;
    }
    expect(open).toBeGreaterThanOrEqual(9);
  });

  it('is a piece to three of them, one after the other, while the uplink has room', () => {
    const spread = spreadOf(16, 2);
    const [first, ...others] = spread.announcements(0, true).offers;
    expect(piecesOf(others)).toEqual([1]);
    // Before anything was taken each has the uplink for itself.
    expect(spread.announcements(20, true).offers).toEqual([]);
    spread.taken(first?.agent ?? 0, 0, 40);
    expect(piecesOf(spread.announcements(50, true).offers)).toEqual([0, 1]);
    expect(piecesOf(spread.announcements(100, true).offers)).toEqual([0, 1]);
    expect(piecesOf(spread.announcements(150, true).offers)).toEqual([]);
    const busy = spreadOf(16, 16);
    expect(busy.announcements(0, true).offers).toHaveLength(16);
  });

  it('is a piece that does not get on by itself to twice as many, and then to all', () => {
    const spread = spreadOf(16, 1);
    const [first] = spread.announcements(0, true).offers;
    spread.taken(first?.agent ?? 0, 0, 100);
    spread.announcements(110, true);
    spread.announcements(120, true);
    const shown: (readonly [number, number | 'all'])[] = [];
    for (let nowMs = 150; nowMs <= 3000; nowMs += 50) {
      const { offers, toAll } = spread.announcements(nowMs, true);
      if (toAll.length > 0) shown.push([nowMs, 'all']);
      else if (offers.length > 0) shown.push([nowMs, offers.length]);
    }
    // A second after one had it, and then each quarter of a second.
    expect(shown).toEqual([
      [1100, 3],
      [1350, 6],
      [1600, 'all'],
    ]);
    expect(spread.isForAll(0)).toBe(true);
  });

  it('is a piece that one of them has not again so soon, while others wait to be shown at all', () => {
    const again = (pieces: number) => {
      const spread = spreadOf(4, pieces);
      const [first] = spread.announcements(0, true).offers;
      if (first === undefined) throw new Error('no offer');
      spread.taken(first.agent, first.piece, 500);
      spread.announcements(500, true);
      const shown = (nowMs: number) => {
        const { offers, toAll } = spread.announcements(nowMs, true);
        return [...piecesOf(offers), ...toAll].includes(first.piece);
      };
      return [shown(1_600), shown(3_400), shown(3_600)];
    };
    expect(again(1)[0]).toBe(true);
    expect(again(100)).toEqual([false, false, true]);
  });

  it('is nothing more of a piece that all have', () => {
    const spread = spreadOf(3, 1);
    spread.announcements(0, true);
    for (const agent of [1, 2, 3]) spread.taken(agent, 0, 100);
    expect(spread.announcements(100, true).offers).toEqual([]);
    expect(spread.announcements(5000, true)).toEqual({ offers: [], toAll: [] });
  });

  it('is everything to the only one', () => {
    const spread = spreadOf(1, 100);
    expect(spread.announcements(0, true).toAll).toHaveLength(100);
  });

  it('is what is under way to all of them when nothing more is to come', () => {
    const spread = spreadOf(4, 6);
    expect(spread.announcements(0, false)).toMatchObject({ toAll: [0, 1, 2, 3, 4, 5] });
    const many = spreadOf(4, 100);
    expect(many.announcements(0, false).toAll).toEqual([]);
  });

  it('is at once to others what one was offered, or alone had, that is gone', () => {
    for (const hadIt of [false, true]) {
      const spread = spreadOf(16, 1);
      const [first] = spread.announcements(0, true).offers;
      const agent = first?.agent ?? 0;
      if (hadIt) spread.taken(agent, 0, 20);
      spread.announcements(30, true);
      spread.announcements(40, true);
      expect(spread.announcements(50, true).offers).toEqual([]);
      spread.leave(agent);
      expect(spread.copies(0)).toBe(0);
      expect(piecesOf(spread.announcements(50, true).offers)).toContain(0);
    }
  });

  it('reaches every agent with every piece, whoever takes what and leaves, and nothing twice', () => {
    const step = fc.record({
      joins: fc.boolean(),
      leaves: fc.integer({ min: 0, max: 11 }),
      gains: fc.integer({ min: 0, max: 20 }),
      takes: fc.array(fc.tuple(fc.nat(11), fc.nat(199)), { maxLength: 20 }),
      passMs: fc.integer({ min: 0, max: 400 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const spread = new Spread({ pieceCount: 200, pieceLengthBytes: 262_144 });
        const told = new Map<number, Set<number>>();
        let next = 0;
        let held = 0;
        let nowMs = 0;
        const tell = (agent: number, piece: number) => {
          expect(piece).toBeLessThan(held);
          const known = told.get(agent);
          expect(known?.has(piece)).toBe(false);
          known?.add(piece);
        };
        const announce = (isPulling: boolean) => {
          const { offers, toAll } = spread.announcements(nowMs, isPulling);
          for (const { agent, piece } of offers) tell(agent, piece);
          for (const piece of toAll) {
            for (const agent of told.keys()) {
              if (!spread.wasShown(agent, piece)) tell(agent, piece);
            }
          }
        };
        for (const { joins, leaves, gains, takes, passMs } of steps) {
          nowMs += passMs;
          if (joins) {
            next += 1;
            spread.join(next);
            const known = Array.from({ length: held }, (_, piece) => piece);
            told.set(next, new Set(known.filter((piece) => spread.isForAll(piece))));
          }
          if (leaves > 0) {
            spread.leave(leaves);
            told.delete(leaves);
          }
          for (let count = 0; count < gains && held < 200; count += 1, held += 1) {
            spread.gained(held, nowMs);
          }
          for (const [agent, piece] of takes) spread.taken(agent, piece, nowMs);
          announce(true);
        }
        // Nobody takes anything any more: it takes patience, and ends.
        for (let turn = 0; turn < 400; turn += 1) {
          nowMs += 500;
          announce(true);
        }
        for (const known of told.values()) expect(known.size).toBe(held);
      }),
      { numRuns: 200 },
    );
  });
});
