import { createHash, randomBytes } from 'node:crypto';
import {
  lstat,
  mkdir,
  mkdtemp,
  open,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';

const PIECE = 262_144;
const never = new AbortController().signal;

let root: string;
let link: string;
const stores: FileStore[] = [];
const body = randomBytes(3 * PIECE + 5);
const layout = layoutOf([{ path: 'a/b.bin', sizeBytes: body.length }], PIECE);
const digests = new Map([['a/b.bin', createHash('sha256').update(body).digest('hex')]]);

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-store-'));
  link = path.join(root, 'ns/models/one');
});

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  await rm(root, { recursive: true, force: true });
});

function folderOf(epoch: number): string {
  return path.join(root, 'ns/.sluice/uid', String(epoch));
}

function storeOf(epoch = 1): FileStore {
  const folder = folderOf(epoch);
  const store = new FileStore({ folder, layout, digests, link, fileMode: 0o640 });
  stores.push(store);
  return store;
}

function pieceOf(piece: number): Uint8Array {
  const shared = new Uint8Array(new SharedArrayBuffer(layout.pieceSizeBytes(piece)));
  shared.set(body.subarray(piece * PIECE, piece * PIECE + shared.length));
  return shared;
}

async function fill(store: FileStore, pieces = [2, 0, 3, 1]): Promise<void> {
  for (const piece of pieces) await store.put(piece, pieceOf(piece));
}

describe('the store of pieces', () => {
  it('places a version with its mode, in whatever order pieces came', async () => {
    const store = storeOf();
    expect([...(await store.open(never)).verified.keys()]).toEqual([]);
    await fill(store);
    await expect(lstat(link)).rejects.toMatchObject({ code: 'ENOENT' });
    await store.complete(never);
    expect(await readlink(link)).toBe('../.sluice/uid/1');
    expect(Buffer.compare(await readFile(path.join(link, 'a/b.bin')), body)).toBe(0);
    expect((await stat(path.join(link, 'a/b.bin'))).mode & 0o777).toBe(0o640);
    expect(Buffer.from(await store.read(3, 2, 3))).toEqual(body.subarray(3 * PIECE + 2));
  });

  it('writes and reads pieces that span files', async () => {
    const sizes = [PIECE / 2, 0, 7, 2 * PIECE, 1];
    const files = sizes.map((sizeBytes, at) => ({ path: `${9 - at}.bin`, sizeBytes }));
    const spanning = layoutOf(files, PIECE, { aligned: false });
    const bytes = randomBytes(spanning.totalBytes);
    const starts = sizes.map((_, at) => sizes.slice(0, at).reduce((sum, size) => sum + size, 0));
    const bytesOf = (at: number) =>
      bytes.subarray(starts[at], (starts[at] as number) + (sizes[at] as number));
    const sha256s = new Map(
      files.map(({ path: name }, at) => [
        name,
        createHash('sha256').update(bytesOf(at)).digest('hex'),
      ]),
    );
    const open = () => {
      const store = new FileStore({
        folder: folderOf(1),
        layout: spanning,
        digests: sha256s,
        link,
      });
      stores.push(store);
      return store;
    };
    const before = open();
    await before.open(never);
    for (const piece of [2, 0]) {
      const part = bytes.subarray(piece * PIECE, (piece + 1) * PIECE);
      expect((await before.put(piece, part)).stored).toBe(true);
    }
    await before.close();
    const after = open();
    expect([...(await after.open(never)).verified.keys()]).toEqual([0, 2]);
    await after.put(1, bytes.subarray(PIECE, 2 * PIECE));
    expect(Buffer.from(await after.read(0, PIECE / 2 - 3, 20))).toEqual(
      bytes.subarray(PIECE / 2 - 3, PIECE / 2 + 17),
    );
    await after.complete(never);
    for (const [at, { path: name }] of files.entries()) {
      expect(Buffer.compare(await readFile(path.join(link, name)), bytesOf(at))).toBe(0);
    }
  });

  it('does not write a piece with another hash', async () => {
    const store = storeOf();
    await store.open(never);
    const { stored } = await store.put(0, pieceOf(0), Buffer.alloc(32));
    expect(stored).toBe(false);
    expect((await readFile(path.join(folderOf(1), 'a/b.bin'))).subarray(0, 8)).toEqual(
      Buffer.alloc(8),
    );
  });

  it('has after a crash of the process what was written', async () => {
    const before = storeOf();
    await before.open(never);
    await fill(before, [0, 2]);
    // As kill -9 leaves it: nothing closed, nothing synced.
    const after = storeOf();
    expect([...(await after.open(never)).verified.keys()]).toEqual([0, 2]);
    await fill(after, [1, 3]);
    await after.complete(never);
    expect(Buffer.compare(await readFile(path.join(link, 'a/b.bin')), body)).toBe(0);
  });

  it('hashes unsynced pieces again after another boot', async () => {
    const before = storeOf();
    await before.open(never);
    await fill(before, [0, 1]);
    const state = await open(`${folderOf(1)}.state`, 'r+');
    await state.write('another boot', 8);
    await state.close();
    const data = await open(path.join(folderOf(1), 'a/b.bin'), 'r+');
    await data.write(Buffer.of(1, 2, 3, 4), 0, 4, 10);
    await data.close();
    expect([...(await storeOf().open(never)).verified.keys()]).toEqual([1]);
  });

  it('forgets what it noted of a file that is gone', async () => {
    const before = storeOf();
    await before.open(never);
    await fill(before);
    await rm(path.join(folderOf(1), 'a/b.bin'));
    expect([...(await storeOf().open(never)).verified.keys()]).toEqual([]);
  });

  it('keeps the feed, up to where a crash cut it off', async () => {
    const before = storeOf();
    await before.open(never);
    before.keepFeed([Buffer.from('one'), Buffer.from('two')]);
    await before.close();
    await writeFile(`${folderOf(1)}.feed`, Buffer.of(0, 0, 0, 9, 1), { flag: 'a' });
    const { feed } = await storeOf().open(never);
    expect(feed.map(String)).toEqual(['one', 'two']);
  });

  it('refuses a file of another digest and places nothing', async () => {
    const store = new FileStore({
      folder: folderOf(1),
      layout,
      digests: new Map([['a/b.bin', 'f'.repeat(64)]]),
      link,
    });
    stores.push(store);
    await store.open(never);
    await fill(store);
    await expect(store.complete(never)).rejects.toMatchObject({ code: 'DigestMismatch' });
    await expect(lstat(link)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('switches to a newer version and leaves those before to whoever knows how many to keep', async () => {
    for (const epoch of [1, 2, 3]) {
      const store = storeOf(epoch);
      await store.open(never);
      await fill(store);
      await store.complete(never);
      await store.close();
    }
    expect(await readlink(link)).toBe('../.sluice/uid/3');
    for (const epoch of [1, 2]) await expect(stat(folderOf(epoch))).resolves.toBeDefined();
  });

  it.each([
    ['a folder of the user', (at: string) => mkdir(at)],
    ['a link to elsewhere', (at: string) => symlink('/etc', at)],
  ])('does not replace %s at the path', async (_, put) => {
    await mkdir(path.dirname(link), { recursive: true });
    await put(link);
    const store = storeOf();
    await store.open(never);
    await fill(store);
    await expect(store.complete(never)).rejects.toMatchObject({ code: 'PathConflict' });
  });

  it('follows no link out of the version', async () => {
    await mkdir(folderOf(1), { recursive: true });
    await symlink(tmpdir(), path.join(folderOf(1), 'a'));
    await expect(storeOf().open(never)).rejects.toMatchObject({ code: 'PathConflict' });
  });
});
