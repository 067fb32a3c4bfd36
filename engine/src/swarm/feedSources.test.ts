import { describe, expect, it } from 'vitest';
import { Bitfield } from '../pieces/bitfield.ts';
import { FeedGaps, type FeedSource, subscribeTo } from './feedSources.ts';

const relay = (number: number, subscribed = false): FeedSource => ({
  number,
  role: 'relay',
  subscribed,
});
const agent = (number: number, subscribed = false): FeedSource => ({
  number,
  role: 'agent',
  subscribed,
});

describe('whom to ask for the feed', () => {
  it.each([
    ['every relay', [relay(1), agent(2), relay(3), relay(4), agent(5)], [1, 3, 4]],
    ['an agent beside a single relay', [agent(1), relay(2), agent(3)], [2, 1]],
    ['two agents when there is no relay', [agent(1), agent(2), agent(3)], [1, 2]],
    ['nobody else when there are enough', [agent(1, true), agent(2), agent(3, true)], []],
    ['a relay that came later', [agent(1, true), agent(2, true), relay(3)], [3]],
    ['another one when one has left', [relay(1, true), agent(2), agent(3)], [2]],
  ])('is %s', (_, peers, expected) => {
    expect(subscribeTo(peers)).toEqual(expected);
  });
});

describe('what no source names', () => {
  const having = (source: FeedSource, ...pieces: number[]) => {
    const has = new Bitfield(100);
    for (const piece of pieces) has.add(piece);
    return { ...source, has };
  };
  const never = () => false;

  it('is asked of one that has it, when a second has gone by', () => {
    const gaps = new FeedGaps();
    gaps.seen(7, 0);
    const peers = [having(relay(1, true), 7), having(agent(2), 3), having(agent(3), 7)];
    expect(gaps.whomToAsk(peers, never, 999)).toEqual([]);
    expect(gaps.whomToAsk(peers, never, 1000)).toEqual([3]);
  });

  it('is asked of nobody once it is named', () => {
    const gaps = new FeedGaps();
    gaps.seen(7, 0);
    expect(gaps.whomToAsk([having(agent(3), 7)], (piece) => piece === 7, 1000)).toEqual([]);
  });

  it('is looked for again when somebody else comes to have it', () => {
    const gaps = new FeedGaps();
    gaps.seen(7, 0);
    expect(gaps.whomToAsk([having(agent(2))], never, 1000)).toEqual([]);
    gaps.seen(7, 1500);
    const peers = [having(agent(2)), having(agent(3), 7)];
    expect(gaps.whomToAsk(peers, never, 2000)).toEqual([]);
    expect(gaps.whomToAsk(peers, never, 2500)).toEqual([3]);
  });

  it('makes one source a second, and six agents at most, whatever a peer claims', () => {
    const gaps = new FeedGaps();
    let peers = Array.from({ length: 20 }, (_, at) => having(agent(at + 1), ...Array(100).keys()));
    const askedAtMs: number[] = [];
    for (let nowMs = 0; nowMs < 60_000; nowMs += 100) {
      for (let piece = 0; piece < 100; piece += 1) gaps.seen(piece, nowMs);
      const asked = gaps.whomToAsk(peers, never, nowMs);
      if (asked.length > 0) askedAtMs.push(nowMs);
      peers = peers.map((each) =>
        asked.includes(each.number) ? { ...each, subscribed: true } : each,
      );
    }
    expect(askedAtMs).toEqual([1000, 2000, 3000, 4000, 5000, 6000]);
  });
});
