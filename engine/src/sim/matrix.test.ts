import { describe, expect, it, vi } from 'vitest';
import { type LayoutFile, layoutOf } from '../pieces/layout.ts';
import type { TopUpPolicy } from '../session/topUp.ts';
import { link, MBIT, times } from './links.ts';
import { flipped, isPayload } from './mutation.ts';
import { SharedPieces } from './pieceView.ts';
import { wrongIn } from './randomWorld.ts';
import { type SimulatedPeer, SwarmWorld } from './swarmWorld.ts';
import { TrueFile } from './trueFile.ts';

const KIB = 1_024;
const PIECE_LENGTHS = [256 * KIB, KIB * KIB, 4 * KIB * KIB];
/** What lies behind the last whole piece of a file. */
const REST = 70_001;
const PARTS_OF_A_PIECE = 16;
/** More than any of these worlds needs by far. */
const MAX_SECONDS = 120;

// A world takes as long as the machine needs, whatever its clock says.
vi.setConfig({ testTimeout: 60_000 });

const FILES = {
  'one file': (piece: number): LayoutFile[] => [{ path: 'file.bin', sizeBytes: 3 * piece + REST }],
  'a set': (piece: number): LayoutFile[] => [
    { path: 'a/b/c/deep.bin', sizeBytes: 2 * piece + REST },
    { path: 'a/b/empty', sizeBytes: 0 },
    { path: 'a/whole.bin', sizeBytes: piece },
    { path: 'a.bin', sizeBytes: 1 },
    { path: 'last/empty', sizeBytes: 0 },
  ],
} as const;

/** What nodes find on their disks: of each piece the right bytes, others, or nothing. */
const DISKS = {
  'an empty disk': () => undefined,
  'a partly valid disk': (piece: number) => ['right', 'wrong', undefined][piece % 3],
  'an invalid disk': () => 'wrong',
} as const;

const FAULTS = [
  'nobody at fault',
  'a liar',
  'a disk that reads wrong bytes',
  'a disk with EIO',
] as const;

const POLICIES = {
  BitTorrent: { sources: [], isCarried: false },
  HTTP: { sources: ['relay'], isCarried: true },
  // More than the links give: both bring what they can.
  'BitTorrent and HTTP': { sources: ['relay'], minRate: 1_000 * MBIT, isCarried: false },
} as const satisfies Record<string, TopUpPolicy>;

const ORIGINS = { 'an origin with ranges': true, 'a stream': false } as const;

interface Cell {
  readonly seed: number;
  readonly name: string;
  readonly file: TrueFile;
  readonly disk: keyof typeof DISKS;
  readonly fault: (typeof FAULTS)[number];
  readonly transport: keyof typeof POLICIES;
  readonly origin: keyof typeof ORIGINS;
}

function keysOf<T extends object>(of: T): (keyof T & string)[] {
  return Object.keys(of) as (keyof T & string)[];
}

const cells: Cell[] = PIECE_LENGTHS.flatMap((pieceLengthBytes) =>
  keysOf(FILES).flatMap((files) => {
    const file = new TrueFile(layoutOf(FILES[files](pieceLengthBytes), pieceLengthBytes));
    return keysOf(DISKS).flatMap((disk) =>
      FAULTS.flatMap((fault) =>
        keysOf(POLICIES).flatMap((transport) =>
          keysOf(ORIGINS).map((origin) => {
            const pieces = `${files} in pieces of ${pieceLengthBytes / KIB} KiB`;
            const name = `${pieces}, ${disk}, ${fault}, by ${transport}, from ${origin}`;
            return { name, file, disk, fault, transport, origin };
          }),
        ),
      ),
    );
  }),
).map((cell, at) => ({ ...cell, seed: at + 1 }));

class CellWorld extends SwarmWorld {
  readonly #cell: Cell;

  constructor(cell: Cell) {
    const { seed, file, fault, transport, origin } = cell;
    // So that every cell takes as long: help by HTTP needs some time to begin.
    const scale = file.layout.pieceLengthBytes / Math.max(...PIECE_LENGTHS);
    super({
      seed,
      file,
      pieceCount: file.layout.pieceCount,
      pieceLengthBytes: file.layout.pieceLengthBytes,
      originRate: 100 * scale * MBIT,
      ranges: ORIGINS[origin],
      relays: times(2, link(200 * scale)),
      nodes: times(3, link(100 * scale)),
      // Of a large piece fewer parts, that are larger.
      network: { quantumBytes: file.layout.pieceLengthBytes / PARTS_OF_A_PIECE },
      topUp: POLICIES[transport],
      ...(fault === 'a disk that reads wrong bytes' && {
        memory: () => new SharedPieces(() => file, { isLending: false }),
      }),
    });
    this.#cell = cell;
    const feed = this.wholeFeed();
    for (const { store } of this.nodes) {
      for (let piece = 0; piece < file.layout.pieceCount; piece += 1) {
        const standing = DISKS[cell.disk](piece);
        if (standing !== undefined) store.leave([piece], standing === 'right');
      }
      // As it was told them when it wrote them.
      if (cell.disk === 'a partly valid disk') store.keepFeed(feed);
    }
  }

  /** To the end; throws where a node does not have everything then. */
  async play(): Promise<void> {
    const { fault, transport } = this.#cell;
    // Who is at fault serves: nodes each other, or relays.
    const isServedByRelays = transport !== 'BitTorrent';
    const bad = (isServedByRelays ? this.relays[0] : this.nodes[0]) as SimulatedPeer;
    switch (fault) {
      case 'nobody at fault':
        return this.#serve();
      case 'a liar': {
        let lies = 0;
        const lie = (from: string, bytes: Uint8Array) => {
          if (from !== bad.name || !isPayload(bytes)) return bytes;
          lies += 1;
          return flipped(bytes);
        };
        if (isServedByRelays) this.tamperHttp(lie);
        else this.tamper(lie);
        await this.#serve();
        expect(lies).toBeGreaterThan(0);
        return;
      }
      case 'a disk that reads wrong bytes':
        // What a relay alone has nobody could get of it.
        if (isServedByRelays) await this.#fill();
        bad.store.isCorrupt = true;
        await this.#serve();
        expect(bad.store.corruptReads).toBeGreaterThan(0);
        return;
      case 'a disk with EIO':
        return this.#serveThough(this.nodes[0] as SimulatedPeer);
    }
  }

  async #serve(): Promise<void> {
    await this.begin();
    expect(await this.run(MAX_SECONDS)).toBe(true);
  }

  /** The relays, before the nodes begin. */
  async #fill(): Promise<void> {
    await this.begin([]);
    expect(await this.run(MAX_SECONDS, this.relays)).toBe(true);
  }

  /** It fails by that name, nobody else waits for it, and the disk is mended for its next attempt. */
  async #serveThough(broken: SimulatedPeer): Promise<void> {
    const others = this.nodes.filter((node) => node !== broken);
    broken.store.failure = Object.assign(new Error('input/output error'), { code: 'EIO' });
    await this.begin();
    const hasFailed = () => broken.failure !== undefined;
    expect(await this.clock.run(hasFailed, MAX_SECONDS * 1000)).toBe(true);
    expect(broken.failure).toMatchObject({ code: 'EIO' });
    expect(await this.run(MAX_SECONDS, others)).toBe(true);
    broken.store.failure = undefined;
    await this.attempt(broken);
    expect(await this.run(MAX_SECONDS)).toBe(true);
  }
}

/** That nodes received something by that, and nothing otherwise. */
function expectUsed({ nodes }: SwarmWorld, { transport, disk }: Cell): void {
  const all = nodes.map(({ transfer }) => transfer.progress().received);
  const isByBitTorrent = all.some(({ fromPeers, fromRelays }) => fromPeers + fromRelays > 0);
  const isByHttp = all.some(({ fromRelayHttp }) => fromRelayHttp > 0);
  if (transport === 'BitTorrent and HTTP' && disk === 'a partly valid disk') {
    // Of the few pieces that are missing one of them may bring all.
    expect(isByBitTorrent || isByHttp).toBe(true);
    return;
  }
  expect({ isByBitTorrent, isByHttp }).toEqual({
    isByBitTorrent: transport !== 'HTTP',
    isByHttp: transport !== 'BitTorrent',
  });
}

describe('each of these ends with the right bytes on every node:', () => {
  it.each(cells.map((cell) => [cell.name, cell.seed, cell] as const))(
    '%s (seed %d)',
    async (_name, _seed, cell) => {
      const world = new CellWorld(cell);
      try {
        await world.play();
        expect(wrongIn(world)).toEqual([]);
        const { pieceCount } = cell.file.layout;
        for (const { store } of world.nodes) expect(store.keptCount).toBe(pieceCount);
        expectUsed(world, cell);
      } finally {
        await world.stop();
      }
    },
  );
});
