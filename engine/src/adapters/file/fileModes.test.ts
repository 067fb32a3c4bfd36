import { beforeEach, describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';
import type { FileSystem } from './fileSystem.ts';
import { CrashingDisk } from './testing/crashingDisk.ts';

const PIECE = 16_384;
const FOLDER = '/root/ns/.sluice/uid/1';
const never = new AbortController().signal;
const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) };
const files = Array.from({ length: 6 }, (_, at) => ({ path: `${at}`, sizeBytes: PIECE }));
const layout = layoutOf(files, PIECE);

let disk: CrashingDisk;
let store: FileStore;
/** What happens when a file's mode has been set, and not synced yet. */
let onSet: (count: number) => Promise<void> | void;

/** The disk, where somebody looks on as modes are set. */
function watched(): FileSystem {
  let count = 0;
  return new Proxy<FileSystem>(disk, {
    get(target, name: keyof FileSystem) {
      const method = target[name] as (...given: unknown[]) => unknown;
      if (name !== 'open') return method.bind(target);
      return async (...[at, access]: Parameters<FileSystem['open']>) => {
        const file = await target.open(at, access);
        const setMode = async (mode: number) => {
          await file.setMode(mode);
          count += 1;
          await onSet(count);
        };
        return { ...file, setMode };
      };
    },
  });
}

const storeOf = (fileMode: number) =>
  new FileStore(
    { folder: FOLDER, layout, link: '/root/ns/one', fileMode },
    { fileSystem: watched(), clock },
  );

beforeEach(async () => {
  disk = new CrashingDisk();
  await disk.makeFolder('/root');
  await disk.makeFolder('/root/ns');
  onSet = () => {};
  const placed = storeOf(0o600);
  await placed.open(never);
  for (let piece = 0; piece < layout.pieceCount; piece += 1) {
    await placed.put(piece, Buffer.alloc(PIECE, piece));
  }
  await placed.complete(never);
  await placed.close();
  store = storeOf(0o600);
  await store.open(never);
});

async function modes(): Promise<number[]> {
  const facts = await Promise.all(files.map((file) => disk.facts(`${FOLDER}/${file.path}`)));
  return facts.map((each) => each?.mode ?? 0);
}

/** Whether a look at the times would take them for changed by somebody. */
async function looksChanged(): Promise<boolean> {
  const state = (await disk.facts(`${FOLDER}.state`))?.changedAtNs ?? 0n;
  const facts = await Promise.all(files.map((file) => disk.facts(`${FOLDER}/${file.path}`)));
  return facts.some((each) => (each?.changedAtNs ?? 0n) > state);
}

/** How many pieces the next one hashes as it is opened. */
async function hashedAnew(): Promise<number> {
  const before = disk.log.length;
  const next = storeOf(0o600);
  const { verified } = await next.open(never);
  await next.close();
  expect(verified.size).toBe(layout.pieceCount);
  return disk.log.slice(before).filter((each) => /^read \d/.test(each)).length;
}

describe('modes that are changed in place', () => {
  it('are a change of its own until the state is younger than the files', async () => {
    const before = store.ownChanges;
    let seen: { own: boolean; changed: boolean } | undefined;
    let over = false;
    onSet = async (count) => {
      if (count !== 3) return;
      void store.ownChanges.then(() => {
        over = true;
      });
      await new Promise((resolve) => setImmediate(resolve));
      seen = { own: store.ownChanges !== before && !over, changed: await looksChanged() };
    };
    await store.setFileMode(0o644, never);
    expect(seen).toEqual({ own: true, changed: true });
    await store.ownChanges;
    expect(await looksChanged()).toBe(false);
    expect(await modes()).toEqual(Array(6).fill(0o644));
    await store.close();
  });

  it('make nothing be hashed again when they are aborted half-way', async () => {
    const abort = new AbortController();
    onSet = (count) => (count === 3 ? abort.abort(new Error('over')) : undefined);
    await expect(store.setFileMode(0o644, abort.signal)).rejects.toThrow('over');
    expect(await modes()).toEqual([...Array(3).fill(0o644), ...Array(3).fill(0o600)]);
    expect(await looksChanged()).toBe(false);
    await store.close();
    expect(await hashedAnew()).toBe(0);
  });

  it('are over when the store is closed, which ends them', async () => {
    let closed: Promise<void> | undefined;
    onSet = (count) => {
      if (count === 3) closed = store.close();
    };
    await expect(store.setFileMode(0o644, never)).rejects.toThrow('closed');
    await closed;
    expect(disk.openedFiles).toBe(0);
    expect(await modes()).toEqual([...Array(3).fill(0o644), ...Array(3).fill(0o600)]);
    expect(await hashedAnew()).toBe(0);
  });

  it('are the last ones that were asked for', async () => {
    let second: Promise<void> | undefined;
    onSet = async (count) => {
      if (count !== 3) return;
      second = store.setFileMode(0o640, never);
      // Long enough for it to be through, if it did not wait.
      for (let turn = 0; turn < 100; turn += 1) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await store.setFileMode(0o644, never);
    await second;
    expect(await modes()).toEqual(Array(6).fill(0o640));
    await store.close();
  });

  it('do not make a version whole again that lost a piece meanwhile', async () => {
    onSet = async (count) => {
      if (count !== 3) return;
      const file = await disk.open(`${FOLDER}/5`, 'write');
      await file.write(Buffer.from('rotten'), 0);
      await file.close();
      expect(await store.recheck(5, never)).toBe(false);
    };
    await store.setFileMode(0o644, never);
    await store.close();
    const { verified } = await storeOf(0o600).open(never);
    expect([...verified.keys()]).toEqual([0, 1, 2, 3, 4]);
    const state = Buffer.alloc(64);
    await (await disk.open(`${FOLDER}.state`, 'read')).read(state, 0);
    expect(state[63]).toBe(0);
  });
});
