import { type LayoutFile, layoutOf } from '../pieces/layout.ts';
import { type Draw, FAULTS_MS, type Fault } from './fault.ts';
import type { SeededRandom } from './seededRandom.ts';
import type { SimulatedPeer, SwarmWorld, WorldOptions } from './swarmWorld.ts';
import { TrueFile } from './trueFile.ts';

const PIECE_LENGTHS = [262_144, 524_288, 1_048_576];
const SET_SHARE = 0.5;
const STREAM_SHARE = 0.15;
const TOP_UP_SHARE = 0.5;
const STANDING_SHARE = 0.3;
/** A disk that failed is mended, and a dispute looked at first, after this at most. */
const MAX_HEAL_MS = 3_000;

/** The same world with other files, another origin, and a last rung for its floor. */
export function varied(plain: WorldOptions, random: SeededRandom): WorldOptions {
  const pieceLengthBytes = random.pick(PIECE_LENGTHS);
  const totalBytes = plain.pieceCount * plain.pieceLengthBytes;
  const file = fileOf(totalBytes, pieceLengthBytes, random);
  const ranges = random.next() >= STREAM_SHARE;
  const { topUp } = plain;
  const hasOrigin = random.next() < TOP_UP_SHARE && topUp !== undefined;
  return {
    ...plain,
    file,
    pieceLengthBytes,
    pieceCount: file.layout.pieceCount,
    ranges,
    ...(hasOrigin && {
      topUp: { ...topUp, sources: [...topUp.sources, 'origin'] },
      topUpBytes: random.next() * totalBytes * plain.nodes.length,
    }),
  };
}

function fileOf(totalBytes: number, pieceLengthBytes: number, random: SeededRandom): TrueFile {
  const files: LayoutFile[] = [{ path: 'file.bin', sizeBytes: 1 + random.below(totalBytes) }];
  if (random.next() < SET_SHARE) {
    for (let left = random.below(6); left > 0; left -= 1) {
      const sizeBytes = random.below(4) * random.below(2 * pieceLengthBytes);
      files.push({ path: `${'folder/'.repeat(random.below(3))}file${left}`, sizeBytes });
    }
  }
  return new TrueFile(layoutOf(files, pieceLengthBytes));
}

/** Beside those of a plain world. In some worlds something stands on the disks before they begin. */
export function furtherFaults(
  world: SwarmWorld,
  random: SeededRandom,
  nodes: readonly SimulatedPeer[],
): Fault[] {
  const kinds: readonly Draw[] = [failDisk, dispute, changeSource];
  if (random.next() < STANDING_SHARE) leaveSome(world, random);
  return Array.from({ length: random.below(3) }, () =>
    random.pick(kinds)(world, random, random.below(FAULTS_MS), nodes),
  );
}

/** Of each node some pieces as they are, with the feed, and some others. */
function leaveSome(world: SwarmWorld, random: SeededRandom): void {
  const feed = world.wholeFeed();
  const { pieceCount } = world.file.layout;
  for (const { store } of world.nodes) {
    const [right, wrong] = [random.next(), random.next()];
    for (let piece = 0; piece < pieceCount; piece += 1) {
      const drawn = random.next();
      if (drawn < right) store.leave([piece]);
      else if (random.next() < wrong) store.leave([piece], false);
    }
    store.keepFeed(feed);
  }
}

/** Everything that is written fails for a while; its node then tries again. */
const failDisk: Draw = (world, random, atMs, nodes) => {
  const victim = random.pick(nodes);
  const healMs = random.below(MAX_HEAL_MS);
  return {
    name: `disk of ${victim.name}`,
    atMs,
    act: () => {
      const { store } = victim;
      store.failure = Object.assign(new Error('input/output error'), { code: 'EIO' });
      world.clock.setTimer(healMs, () => {
        store.failure = undefined;
        if (victim.failure !== undefined && victim.host.isAlive) world.attempt(victim);
      });
    },
  };
};

/** Somebody who may sign says that some pieces are others, and is found out. */
const dispute: Draw = (world, random, atMs, nodes) => {
  const told = random.pick([...nodes, ...world.relays]);
  const settleMs = random.below(MAX_HEAL_MS);
  const count = 1 + random.below(4);
  return {
    name: `dispute at ${told.name}`,
    atMs,
    act: () => {
      const { pieceCount } = world.file.layout;
      const pieces = new Set(Array.from({ length: count }, () => random.below(pieceCount)));
      const batches = world.falseBatches([...pieces]);
      if (told.host.isAlive) for (const batch of batches) told.transfer.acceptBatch(batch);
      // Again and again: what nobody has pulled yet nobody contradicts before.
      const settle = () => {
        world.settleDisputes();
        world.clock.setTimer(1_000, settle);
      };
      world.clock.setTimer(settleMs, settle);
    },
  };
};

/** Another version of the file: some pieces are others, and its length may be. */
const changeSource: Draw = (world, random, atMs) => ({
  name: 'next epoch',
  atMs,
  act: () => {
    const { files, pieceLengthBytes } = world.file.layout;
    const grown = files.map((file) => ({
      ...file,
      sizeBytes: random.next() < 0.3 ? file.sizeBytes + random.below(100_000) : file.sizeBytes,
    }));
    const layout = layoutOf(grown, pieceLengthBytes);
    const changed = Array.from({ length: 1 + random.below(3) }, () =>
      random.below(layout.pieceCount),
    );
    return world.nextEpoch(new TrueFile(layout, { changed }));
  },
});
