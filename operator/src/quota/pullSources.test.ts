import { describe, expect, it } from 'vitest';
import { SourceStandings, sourcesFor, urlOfLease } from './pullSources.ts';

const MIRRORS = [
  { id: 'a', url: 'http://a/' },
  { id: 'b', url: 'http://b/' },
];
const DISTRIBUTION = { url: 'http://source/', mirrors: MIRRORS };
const FAILURE = { reason: 'SourceUnavailable', message: 'no' };

const order = (standings: SourceStandings, nowMs = 0, known = ['a', 'b']) =>
  sourcesFor(DISTRIBUTION, known, standings, nowMs).map(({ mirror }) => mirror ?? 'source');

describe('where an epoch is taken from', () => {
  it('is the source first, then mirrors as they are listed, that the holder knows', () => {
    const standings = new SourceStandings();
    expect(order(standings)).toEqual(['source', 'a', 'b']);
    expect(order(standings, 0, ['b', 'gone'])).toEqual(['source', 'b']);
    expect(sourcesFor({ url: 'http://s/' }, ['a'], standings, 0)).toEqual([
      { mirror: undefined, url: 'http://s/' },
    ]);
  });

  it('is what failed last of all, for a while that doubles, until bytes come from it', () => {
    const standings = new SourceStandings();
    standings.failed(undefined, FAILURE, 0);
    expect(standings.failureOf(undefined)).toBe(FAILURE);
    expect(order(standings, 4_999)).toEqual(['a', 'b', 'source']);
    expect(order(standings, 5_000)).toEqual(['source', 'a', 'b']);
    standings.failed(undefined, FAILURE, 5_000);
    standings.failed('a', FAILURE, 5_000);
    expect(order(standings, 9_000)).toEqual(['b', 'source', 'a']);
    expect(order(standings, 10_000)).toEqual(['a', 'b', 'source']);
    expect(order(standings, 15_000)).toEqual(['source', 'a', 'b']);
    standings.delivered(undefined);
    expect(standings.failureOf(undefined)).toBeUndefined();
    standings.failed(undefined, FAILURE, 20_000);
    expect(order(standings, 25_000)[0]).toBe('source');
  });

  it('rests two minutes at most', () => {
    const standings = new SourceStandings();
    for (let count = 0; count < 30; count += 1) standings.failed('a', FAILURE, 0);
    expect([standings.isResting('a', 119_999), standings.isResting('a', 120_000)]).toEqual([
      true,
      false,
    ]);
  });

  it('remembers nothing of a mirror that was taken out and named again', () => {
    const standings = new SourceStandings();
    for (const mirror of [undefined, 'a', 'b']) standings.failed(mirror, FAILURE, 0);
    standings.keepOnly(['b']);
    expect([undefined, 'a', 'b'].map((mirror) => standings.failureOf(mirror))).toEqual([
      FAILURE,
      undefined,
      FAILURE,
    ]);
  });

  it('is for a lease what it was granted for', () => {
    expect(urlOfLease(DISTRIBUTION, undefined)).toBe('http://source/');
    expect(urlOfLease(DISTRIBUTION, 'b')).toBe('http://b/');
    expect(urlOfLease(DISTRIBUTION, 'gone')).toBeUndefined();
  });
});
