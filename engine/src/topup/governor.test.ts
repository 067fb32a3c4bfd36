import { describe, expect, it } from 'vitest';
import { type GovernorState, govern, INITIAL_GOVERNOR } from './governor.ts';

const FLOOR = 1_000_000;
const TICK_MS = 100;

interface Node {
  state: GovernorState;
  nowMs: number;
  bitTorrentBytes: number;
  httpBytes: number;
}

function freshNode(): Node {
  return { state: INITIAL_GOVERNOR, nowMs: 0, bitTorrentBytes: 0, httpBytes: 0 };
}

/** Runs a node whose relay delivers what is wanted by the next tick; returns bytes per second. */
function run(node: Node, seconds: number, bitTorrentRate: number, floor?: number): number[] {
  const perSecond: number[] = [];
  for (let second = 0; second < seconds; second += 1) {
    const before = node.bitTorrentBytes + node.httpBytes;
    for (let tick = 0; tick < 1000 / TICK_MS; tick += 1) {
      node.nowMs += TICK_MS;
      node.bitTorrentBytes += (bitTorrentRate * TICK_MS) / 1000;
      const { state, wantBytes } = govern(node.state, {
        nowMs: node.nowMs,
        minRateBytesPerSecond: floor,
        ownBytes: node.bitTorrentBytes,
        helpBytes: node.httpBytes,
        owed: true,
        expectedBytes: 0,
      });
      node.state = state;
      node.httpBytes += wantBytes;
    }
    perSecond.push(node.bitTorrentBytes + node.httpBytes - before);
  }
  return perSecond;
}

describe('the governor', () => {
  it('does nothing while BitTorrent is above the floor', () => {
    const node = freshNode();
    run(node, 10, FLOOR * 1.1, FLOOR);
    expect(node.httpBytes).toBe(0);
  });

  it.each([0, 0.2, 0.9])(
    'holds the floor when BitTorrent gives %d of it, without giving much more',
    (share) => {
      const node = freshNode();
      const [, ...later] = run(node, 20, FLOOR * share, FLOOR);
      for (const rate of later) expect(rate).toBeGreaterThanOrEqual(FLOOR * 0.999);
      expect(Math.max(...later.slice(2))).toBeLessThan(FLOOR * 1.3);
    },
  );

  it('is at the floor again within two seconds after BitTorrent fails', () => {
    const node = freshNode();
    run(node, 5, FLOOR * 2, FLOOR);
    const after = run(node, 5, 0, FLOOR);
    expect(after.filter((rate) => rate < FLOOR).length).toBeLessThanOrEqual(2);
  });

  it('stops once BitTorrent alone was above 1.2 times the floor for five seconds, not before', () => {
    const node = freshNode();
    run(node, 3, 0, FLOOR);
    expect(node.state.mode).toBe('toppingUp');
    run(node, 4, FLOOR * 1.5, FLOOR);
    expect(node.state.mode).toBe('toppingUp');
    run(node, 3, FLOOR * 1.5, FLOOR);
    expect(node.state.mode).toBe('idle');
    const node2 = freshNode();
    run(node2, 3, 0, FLOOR);
    run(node2, 20, FLOOR * 1.1, FLOOR);
    expect(node2.state.mode).toBe('toppingUp');
  });

  it('owes nothing for pieces that the feed does not name', () => {
    const { wantBytes, state } = govern(INITIAL_GOVERNOR, {
      nowMs: 60_000,
      minRateBytesPerSecond: FLOOR,
      ownBytes: 0,
      helpBytes: 0,
      owed: false,
      expectedBytes: 0,
    });
    expect(wantBytes).toBe(0);
    expect(state.samples).toEqual([]);
  });

  it('carries a node without a floor only when BitTorrent brought nothing for three seconds', () => {
    const node = freshNode();
    run(node, 3, 0);
    expect(node.httpBytes).toBe(0);
    run(node, 1, 0);
    expect(node.httpBytes).toBeGreaterThan(FLOOR);
    const httpBytes = node.httpBytes;
    run(node, 3, 1000);
    expect(node.httpBytes).toBe(httpBytes);
  });
});
