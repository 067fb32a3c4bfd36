import { encodeBatchList } from '../../../feed/batchList.ts';
import { layoutOf } from '../../../pieces/layout.ts';
import { mutate } from '../../../sim/mutation.ts';
import { SeededRandom } from '../../../sim/seededRandom.ts';
import { EarlierVersions, listedBytes, unnotedBytes, writeManifest } from '../earlierVersions.ts';
import { FeedFile } from '../feedFile.ts';
import type { FileSystem } from '../fileSystem.ts';
import { RECORD_BYTES, recordOf, SYNCED, WRITTEN } from '../pieceRecord.ts';
import { StateFile } from '../stateFile.ts';
import { CrashingDisk } from './crashingDisk.ts';

const FOLDER = '/1';
const PIECE_BYTES = 262_144;
const FILES = [
  { path: 'a/b', sizeBytes: 5 * PIECE_BYTES + 7 },
  { path: 'empty', sizeBytes: 0 },
  { path: 'z', sizeBytes: PIECE_BYTES },
];
const LAYOUT = layoutOf(FILES, PIECE_BYTES);
const DIGESTS = new Map(FILES.map(({ path }) => [path, 'ab'.repeat(32)]));

interface StoredFile {
  readonly name: string;
  /** Behind the version's folder. */
  readonly suffix: string;
  /** Throws when it takes what no process has written. */
  read(disk: FileSystem): Promise<void>;
}

const hashOf = (piece: number) => Buffer.alloc(32, piece + 1);
const BATCHES = [10, 200, 3].map((length) => Buffer.alloc(length, length));
const ONE_MORE = Buffer.alloc(20, 1);
const KNOWN = new Set(Array.from({ length: LAYOUT.pieceCount }, (_, at) => hex(hashOf(at))));

const STORED: readonly StoredFile[] = [
  {
    name: 'state',
    suffix: '.state',
    read: async (disk) => {
      const state = await StateFile.read(`${FOLDER}.state`, LAYOUT.pieceCount, disk);
      for (let piece = 0; piece < LAYOUT.pieceCount; piece += 1) {
        const hash = state.noted(piece)?.hash;
        if (hash !== undefined && !hash.equals(hashOf(piece))) {
          throw new Error(`piece ${piece} is noted with another hash`);
        }
      }
    },
  },
  {
    name: 'feed',
    suffix: '.feed',
    read: async (disk) => {
      const stored = await get(disk, '.feed');
      const feed = await FeedFile.open(`${FOLDER}.feed`, disk);
      const { batches } = feed;
      feed.append([ONE_MORE]);
      await feed.close();
      const taken = encodeBatchList(batches);
      if (!taken.equals(stored.subarray(0, taken.length))) throw new Error('it is another feed');
      const right = BATCHES.filter((_, at) => startsAlike(stored, BATCHES.slice(0, at + 1)));
      if (batches.length < right.length) throw new Error('a batch before the mistake is missing');
      const again = await FeedFile.open(`${FOLDER}.feed`, disk);
      await again.close();
      const added = encodeBatchList([...batches, ONE_MORE]);
      if (!encodeBatchList(again.batches).equals(added)) throw new Error('what is added is lost');
    },
  },
  {
    name: 'manifest',
    suffix: '.files',
    read: async (disk) => {
      await listedBytes(FOLDER, disk);
      await unnotedBytes(FOLDER, disk);
      const versions = await EarlierVersions.read([FOLDER], disk);
      for (const hash of KNOWN) {
        const found = versions.bytesOf(Buffer.from(hash, 'hex'));
        if (found?.path.split('/').includes('..')) {
          throw new Error(`it leads to ${found.path}`);
        }
      }
    },
  },
];

/** What a version wrote beside itself, as a broken disk gives it back. Answers what went wrong, by seed. */
export async function fuzzStoredFiles(firstSeed: number, inputs: number): Promise<string[]> {
  const problems: string[] = [];
  const valid = await validFiles();
  for (let seed = firstSeed; seed < firstSeed + inputs; seed += 1) {
    const random = new SeededRandom(seed);
    const stored = STORED[seed % STORED.length] as StoredFile;
    const disk = new CrashingDisk();
    for (const [suffix, bytes] of valid) {
      await put(disk, suffix, suffix === stored.suffix ? mutate(bytes, random) : bytes);
    }
    try {
      await stored.read(disk);
    } catch (error) {
      problems.push(`${stored.name} file, seed ${seed}: ${String(error)}`);
    }
  }
  return problems;
}

async function validFiles(): Promise<Map<string, Buffer>> {
  const disk = new CrashingDisk();
  const state = await StateFile.read(`${FOLDER}.state`, LAYOUT.pieceCount, disk);
  await state.begin();
  await state.setWhole(true);
  await state.close();
  await writeManifest(FOLDER, LAYOUT, DIGESTS, disk);
  const head = await get(disk, '.state');
  const records = Array.from({ length: LAYOUT.pieceCount }, (_, piece) =>
    recordOf(piece % 2 === 0 ? WRITTEN : SYNCED, piece, hashOf(piece)),
  );
  const beforeRecords = head.subarray(0, head.length - LAYOUT.pieceCount * RECORD_BYTES);
  return new Map([
    ['.state', Buffer.concat([beforeRecords, ...records])],
    ['.files', await get(disk, '.files')],
    ['.feed', encodeBatchList(BATCHES)],
  ]);
}

async function put(disk: FileSystem, suffix: string, bytes: Buffer): Promise<void> {
  const file = await disk.open(`${FOLDER}${suffix}`, 'create');
  await file.write(bytes, 0);
  await file.close();
}

async function get(disk: FileSystem, suffix: string): Promise<Buffer> {
  const file = await disk.open(`${FOLDER}${suffix}`, 'read');
  const bytes = Buffer.alloc((await file.facts()).sizeBytes);
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}

/** Whether these batches stand at its start as they were written. */
function startsAlike(stored: Buffer, batches: readonly Buffer[]): boolean {
  const written = encodeBatchList(batches);
  return stored.subarray(0, written.length).equals(written);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
