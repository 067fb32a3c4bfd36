/** What another release has noted of a version, or nobody: nothing is lost by it. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';

const PIECE = 262_144;
const never = new AbortController().signal;
const body = randomBytes(3 * PIECE + 5);
const layout = layoutOf([{ path: 'f.bin', sizeBytes: body.length }], PIECE);
const pieces = [0, 1, 2, 3];
const sha256 = createHash('sha256').update(body).digest('hex');

let root: string;
let hashes: Uint8Array[];
const stores: FileStore[] = [];

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-formats-'));
  hashes = [];
});

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  await rm(root, { recursive: true, force: true });
});

const folder = () => path.join(root, 'ns/.sluice/uid/1');
const state = () => `${folder()}.state`;
const link = () => path.join(root, 'ns/models/one');
const placed = () => path.join(link(), 'f.bin');

function newStore(named: boolean): FileStore {
  const digests = named && { digests: new Map([['f.bin', sha256]]) };
  const store = new FileStore({ folder: folder(), layout, link: link(), ...digests });
  stores.push(store);
  return store;
}

async function put(store: FileStore, piece: number): Promise<void> {
  const bytes = Buffer.from(body.subarray(piece * PIECE, (piece + 1) * PIECE));
  hashes[piece] = (await store.put(piece, bytes)).hash;
}

/** Begun by a release of ours, with these pieces, and whole when these are all. */
async function begin(held: readonly number[], named: boolean): Promise<void> {
  const store = newStore(named);
  await store.open(never);
  for (const piece of held) await put(store, piece);
  if (held.length === pieces.length) await store.complete(never);
  await store.close();
}

/** Another release was here: what it notes of the version is longer, and begins with its version. */
async function asAnotherRelease(): Promise<void> {
  await writeFile(state(), Buffer.concat([Buffer.from('sluice99'), randomBytes(900)]));
}

async function headOf(file: string, bytes: number): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(bytes), 0, bytes, 0);
    return buffer.toString('latin1');
  } finally {
    await handle.close();
  }
}

describe.each([
  ['with a digest, noted in the format of another release', true, asAnotherRelease],
  ['without one, noted in the format of another release', false, asAnotherRelease],
  ['with a digest, of which the note is gone', true, () => rm(state())],
  ['without one, of which the note is gone', false, () => rm(state())],
])('a placed version %s', (_, named, spoil) => {
  beforeEach(async () => {
    await begin(pieces, named);
    await spoil();
  });

  it('stays visible, is hashed where it stands, and is whole again without a byte from others', async () => {
    const before = await stat(placed());
    const store = newStore(named);
    const { verified, proven } = await store.open(never);
    expect(verified.size).toBe(0);
    expect(proven.size).toBe(named ? pieces.length : 0);
    expect(await readlink(link())).toBe('../.sluice/uid/1');
    expect(Buffer.compare(await readFile(placed()), body)).toBe(0);
    for (const piece of pieces) {
      const hash = proven.get(piece) ?? (hashes[piece] as Uint8Array);
      expect(store.hasEarlier(piece, hash)).toBe(true);
      expect((await store.copy(piece, hash)).stored).toBe(true);
    }
    await store.complete(never);
    await store.close();
    expect((await stat(placed())).mtimeMs).toBe(before.mtimeMs);
    expect(await headOf(state(), 8)).toBe('sluice02');
    const again = newStore(named);
    expect((await again.open(never)).verified.size).toBe(pieces.length);
  });

  it('brings what is right of it where something is wrong', async () => {
    const damaged = await open(placed(), 'r+');
    await damaged.write(Buffer.from('rot'), 0, 3, PIECE + 7);
    await damaged.close();
    const store = newStore(named);
    const { proven } = await store.open(never);
    // The whole file is not what the digest names.
    expect(proven.size).toBe(0);
    const stored: boolean[] = [];
    for (const piece of pieces) {
      stored.push((await store.copy(piece, hashes[piece] as Uint8Array)).stored);
    }
    expect(stored).toEqual([true, false, true, true]);
    await put(store, 1);
    await store.complete(never);
    expect(Buffer.compare(await readFile(placed()), body)).toBe(0);
  });

  it('is hashed where it stands also when that was interrupted', async () => {
    const first = newStore(named);
    await first.open(never);
    await first.copy(2, hashes[2] as Uint8Array);
    await first.close();
    const second = newStore(named);
    const { verified } = await second.open(never);
    expect([...verified.keys()]).toEqual([2]);
    for (const piece of [0, 1, 3]) {
      expect((await second.copy(piece, hashes[piece] as Uint8Array)).stored).toBe(true);
    }
    await second.complete(never);
    // From here on what is not noted is not there.
    expect(await second.recheck(0, never)).toBe(true);
  });
});

it.each([true, false])(
  'what is missing of a version of ours is looked for nowhere, digest: %s',
  async (named) => {
    await begin([0, 2], named);
    const store = newStore(named);
    const { verified, proven } = await store.open(never);
    expect([...verified.keys()]).toEqual([0, 2]);
    expect(proven.size).toBe(0);
    for (const piece of [1, 3]) expect(store.hasEarlier(piece, Buffer.alloc(32))).toBe(false);
  },
);

it('a version that was half way keeps what it had, of whatever release', async () => {
  await begin([0, 2], false);
  await asAnotherRelease();
  const store = newStore(false);
  expect((await store.open(never)).verified.size).toBe(0);
  for (const piece of [0, 2]) {
    expect((await store.copy(piece, hashes[piece] as Uint8Array)).stored).toBe(true);
  }
  // What was never written has other bytes.
  expect((await store.copy(1, Buffer.alloc(32, 7))).stored).toBe(false);
  for (const piece of [1, 3]) await put(store, piece);
  await store.complete(never);
  expect(Buffer.compare(await readFile(placed()), body)).toBe(0);
});
