import { beforeEach, expect, it } from 'vitest';
import { FeedLog } from '../feed/feedLog.ts';
import { generateFeedKeyPair } from '../feed/keys.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import { layoutOf } from '../pieces/layout.ts';
import type { PeerRole } from '../wire/hello.ts';
import { Announcer, type AnnouncerDependencies } from './announcer.ts';
import { Connections } from './connections.ts';
import type { PeerConnection } from './peerConnection.ts';

const PIECE = 262_144;
const PIECES = 200;
const layout = layoutOf([{ path: 'a', sizeBytes: PIECES * PIECE }], PIECE);

interface Told {
  readonly atMs: number;
  readonly pieces: readonly number[];
}

/** A connection that a peer opened to us, as far as announcing knows it; all in `told`. */
class FakePeer {
  readonly side = 'acceptor';
  readonly remoteHas = new Bitfield(PIECES);
  readonly told: Told[] = [];
  announced = 0;

  readonly number: number;
  readonly remoteRole: PeerRole;
  readonly remotePeerId: string;

  constructor(number: number, role: PeerRole) {
    this.number = number;
    this.remoteRole = role;
    this.remotePeerId = `peer ${number}`;
  }

  send(): void {}

  sendHaves(pieces: readonly number[]): void {
    if (pieces.length > 0) this.told.push({ atMs: clock.now(), pieces });
  }

  /** As who needs the whole class sees it. */
  get asConnection(): PeerConnection {
    return this as unknown as PeerConnection;
  }
}

/** Time that a test moves on. */
class ManualClock {
  #nowMs = 10_000;
  readonly #timers = new Set<{ atMs: number; callback: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void) {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  advance(ms: number): void {
    for (let left = ms; left > 0; left -= 1) {
      this.#nowMs += 1;
      for (const timer of [...this.#timers].filter(({ atMs }) => atMs <= this.#nowMs)) {
        if (this.#timers.delete(timer)) timer.callback();
      }
    }
  }
}

let clock: ManualClock;
let connections: Connections;
let offered: Bitfield;
let announcer: Announcer;
let dependencies: AnnouncerDependencies;

beforeEach(() => {
  clock = new ManualClock();
  connections = new Connections();
  offered = new Bitfield(PIECES);
  const keys = { swarmId: Buffer.alloc(20), feedKey: generateFeedKeyPair().publicKey };
  const feed = new FeedLog({ ...keys, pieceCount: PIECES });
  dependencies = { clock, feed, offered, connections, isPulling: () => false };
  announcer = new Announcer({ role: 'agent', layout }, dependencies);
});

function join(number: number, role: PeerRole): FakePeer {
  const peer = new FakePeer(number, role);
  connections.add(peer.asConnection);
  announcer.opened(peer.asConnection);
  announcer.soon();
  return peer;
}

function gain(piece: number): void {
  offered.add(piece);
  announcer.announce(piece);
}

it('tells the first piece at once, however long peers have waited for it, and the next soon', () => {
  const peer = join(1, 'agent');
  clock.advance(3_000);
  gain(5);
  clock.advance(10);
  gain(6);
  gain(7);
  clock.advance(100);
  expect(peer.told).toEqual([
    { atMs: 13_000, pieces: [5] },
    { atMs: 13_050, pieces: [6, 7] },
  ]);
});

it('tells agents seldom in mid-transfer, and relays as often as ever', () => {
  const [agent, relay] = [join(1, 'agent'), join(2, 'relay')];
  for (let piece = 0; piece < 100; piece += 1) {
    gain(piece);
    clock.advance(25);
  }
  const times = ({ told }: FakePeer) => told.filter(({ atMs }) => atMs > 11_200).length;
  expect(times(agent)).toBeLessThan(times(relay) / 3);
  expect(agent.told.flatMap(({ pieces }) => pieces).length).toBeGreaterThan(85);
});

it('does not tell a peer of what it has', () => {
  const [one, other] = [join(1, 'agent'), join(2, 'agent')];
  one.remoteHas.add(3);
  gain(3);
  expect(one.told).toEqual([]);
  expect(other.told).toEqual([{ atMs: 10_000, pieces: [3] }]);
});

it('says nothing after it was stopped', () => {
  const peer = join(1, 'agent');
  gain(1);
  gain(2);
  announcer.stop();
  clock.advance(1_000);
  expect(peer.told).toHaveLength(1);
});

it('shows an agent what a relay lost and has again', () => {
  announcer = new Announcer({ role: 'relay', layout }, dependencies);
  const before = join(1, 'agent');
  gain(5);
  clock.advance(100);
  expect(before.told.map(({ pieces }) => pieces)).toEqual([[5]]);
  offered.delete(5);
  announcer.lost(5);
  connections.remove(before.asConnection);
  announcer.closed(before.asConnection);
  const after = join(2, 'agent');
  clock.advance(5_000);
  expect(after.told).toEqual([]);
  gain(5);
  clock.advance(100);
  expect(after.told.map(({ pieces }) => pieces)).toEqual([[5]]);
});
