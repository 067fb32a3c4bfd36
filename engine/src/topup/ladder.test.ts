import { describe, expect, it } from 'vitest';
import { climb, type HelpSource, INITIAL_LADDER, type LadderState } from './ladder.ts';

const FLOOR = 1_000_000;
const TICK_MS = 100;

interface Give {
  readonly bitTorrent: number;
  /** Bytes per second that this source gives at most; undefined: there is nobody to ask. */
  readonly relay?: number | undefined;
  readonly origin?: number | undefined;
}

/** A node whose helpers give what is wanted by the next tick, as far as they can. */
class Node {
  state: LadderState = INITIAL_LADDER;
  nowMs = 0;
  received = { bitTorrent: 0, relay: 0, origin: 0 };
  readonly #order: readonly HelpSource[];
  readonly #isCarried: boolean;
  readonly #floor: number | undefined;

  constructor(order: readonly HelpSource[], floor?: number, isCarried = false) {
    this.#order = order;
    this.#floor = floor;
    this.#isCarried = isCarried;
  }

  /** Bytes received in each second, by source. */
  run(seconds: number, give: Give) {
    return Array.from({ length: seconds }, () => {
      const before = { ...this.received };
      for (let tick = 0; tick < 1000 / TICK_MS; tick += 1) this.#tick(give);
      const { bitTorrent, relay, origin } = this.received;
      const came = {
        relay: relay - before.relay,
        origin: origin - before.origin,
        all: bitTorrent + relay + origin,
      };
      return { ...came, all: came.all - before.bitTorrent - before.relay - before.origin };
    });
  }

  #tick(give: Give): void {
    this.nowMs += TICK_MS;
    this.received.bitTorrent += (give.bitTorrent * TICK_MS) / 1000;
    const { state, wants } = climb(this.state, {
      nowMs: this.nowMs,
      minRateBytesPerSecond: this.#floor,
      bitTorrentBytes: this.received.bitTorrent,
      owed: true,
      isCarried: this.#isCarried,
      rungs: this.#order.map((source) => ({
        source,
        receivedBytes: this.received[source],
        expectedBytes: 0,
        isUsable: give[source] !== undefined,
      })),
    });
    this.state = state;
    for (const source of this.#order) {
      const most = ((give[source] ?? 0) * TICK_MS) / 1000;
      const want = wants[source];
      const asked = source === 'relay' ? want?.bytes : (want?.rateBytesPerSecond ?? 0) / 10;
      this.received[source] += Math.min(asked ?? 0, most);
    }
  }
}

const PLENTY = 100 * FLOOR;

describe('a node that is short', () => {
  it('takes nothing from the origin while relays bring enough', () => {
    const node = new Node(['relay', 'origin'], FLOOR);
    const [, , ...later] = node.run(20, { bitTorrent: 0, relay: PLENTY, origin: PLENTY });
    expect(node.received.origin).toBe(0);
    for (const { all } of later) expect(all).toBeGreaterThanOrEqual(FLOOR * 0.999);
  });

  it.each([
    ['there is no relay', undefined],
    ['relays bring nothing', 0],
    ['relays bring half', FLOOR / 2],
  ])('is at its floor within two seconds by the origin when %s', (_, relay) => {
    const node = new Node(['relay', 'origin'], FLOOR);
    const [, , ...later] = node.run(20, { bitTorrent: FLOOR / 10, relay, origin: PLENTY });
    for (const { all } of later) expect(all).toBeGreaterThanOrEqual(FLOOR * 0.999);
    // No more than what is missing, a little above it aside.
    const missing = FLOOR * 0.9 - (relay ?? 0);
    for (const { origin } of later.slice(3)) expect(origin).toBeLessThan(missing + FLOOR * 0.2);
  });

  it('leaves the origin as soon as relays bring enough again', () => {
    const node = new Node(['relay', 'origin'], FLOOR);
    node.run(10, { bitTorrent: 0, relay: 0, origin: PLENTY });
    const [, , ...later] = node.run(10, { bitTorrent: 0, relay: PLENTY, origin: PLENTY });
    for (const { origin } of later) expect(origin).toBe(0);
  });

  it('asks in the order that the user gave', () => {
    const node = new Node(['origin', 'relay'], FLOOR);
    node.run(10, { bitTorrent: 0, relay: PLENTY, origin: PLENTY });
    // Until the origin's help is seen in the last second, the next one may be asked, too.
    expect(node.received.relay).toBeLessThan(FLOOR / 2);
    expect(node.received.origin).toBeGreaterThan(8 * FLOOR);
  });

  it('without a floor is helped by the origin when neither peers nor relays bring a byte', () => {
    const node = new Node(['relay', 'origin']);
    node.run(3, { bitTorrent: 0, relay: 0, origin: PLENTY });
    expect(node.received.origin).toBe(0);
    node.run(5, { bitTorrent: 0, relay: 0, origin: PLENTY });
    expect(node.received.origin).toBeGreaterThan(FLOOR);
  });

  it('is carried by its first source from the start where nothing is expected of BitTorrent', () => {
    const node = new Node(['relay', 'origin'], undefined, true);
    const [first] = node.run(5, { bitTorrent: 0, relay: PLENTY, origin: PLENTY });
    expect(first?.relay).toBeGreaterThan(10 * FLOOR);
    expect(node.received.origin).toBe(0);
  });

  it('that is carried gets the rest of its floor from the second source', () => {
    const node = new Node(['relay', 'origin'], FLOOR, true);
    const [, , ...later] = node.run(10, { bitTorrent: 0, relay: FLOOR / 2, origin: PLENTY });
    for (const { all } of later) expect(all).toBeGreaterThanOrEqual(FLOOR * 0.999);
  });
});
