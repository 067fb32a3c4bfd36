import { describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';
import type { FileSystem } from './fileSystem.ts';
import { CrashingDisk } from './testing/crashingDisk.ts';

const PIECE = 16_384;
const FOLDER = '/root/1';
const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) };
const layout = layoutOf(
  [
    { path: 'a', sizeBytes: 3 * PIECE },
    { path: 'b/c', sizeBytes: PIECE },
  ],
  PIECE,
);

const storeOn = (fileSystem: FileSystem) =>
  new FileStore(
    { folder: FOLDER, layout, digests: new Map([['a', '0'.repeat(64)]]) },
    { fileSystem, clock },
  );

/** A disk with all pieces of the version; `untold`: nobody can tell what is in its files. */
async function diskOf(untold: boolean): Promise<CrashingDisk> {
  const disk = new CrashingDisk();
  await disk.makeFolder('/root');
  const store = storeOn(disk);
  await store.open(new AbortController().signal);
  for (let piece = 0; piece < layout.pieceCount; piece += 1) {
    await store.put(piece, Buffer.alloc(PIECE, piece));
  }
  await store.close();
  if (!untold) return disk;
  const state = await disk.open(`${FOLDER}.state`, 'write');
  await state.write(Buffer.from('another format'), 0);
  await state.close();
  return disk;
}

/** Acts as the call with this number is made. Answers how many calls there were. */
function interrupted(disk: CrashingDisk, at: number, act: () => void) {
  let calls = 0;
  const fileSystem = new Proxy<FileSystem>(disk, {
    get(target, name: keyof FileSystem) {
      const method = target[name] as (...given: unknown[]) => unknown;
      return (...given: unknown[]) => {
        calls += 1;
        if (calls === at) act();
        return method.apply(target, given);
      };
    },
  });
  return { fileSystem, calls: () => calls };
}

describe.each([
  ['as it was left', false],
  ['in another format', true],
])('a store that is being opened, with its state %s', (_, untold) => {
  it.each(['closed', 'aborted'])(
    'leaves no file open when it is %s, whenever that is',
    async (how) => {
      const whole = interrupted(await diskOf(untold), 0, () => {});
      const opened = storeOn(whole.fileSystem);
      await opened.open(new AbortController().signal);
      const callsToOpen = whole.calls();
      await opened.close();
      for (let at = 1; at <= callsToOpen; at += 1) {
        const disk = await diskOf(untold);
        const abort = new AbortController();
        let closed: Promise<void> | undefined;
        const { fileSystem } = interrupted(disk, at, () => {
          if (how === 'closed') closed = store.close();
          else abort.abort(new Error('nobody wants it'));
        });
        const store = storeOn(fileSystem);
        await expect(store.open(abort.signal), `call ${at}`).rejects.toBeDefined();
        await closed;
        expect(disk.openedFiles, `call ${at}`).toBe(0);
      }
    },
  );

  it('is closed only when what it opened is', async () => {
    const disk = await diskOf(untold);
    const openedFiles: number[] = [];
    let closed: Promise<void> | undefined;
    const { fileSystem } = interrupted(disk, 8, () => {
      closed = store.close().then(() => void openedFiles.push(disk.openedFiles));
    });
    const store = storeOn(fileSystem);
    await expect(store.open(new AbortController().signal)).rejects.toBeDefined();
    await closed;
    await store.close();
    expect(openedFiles).toEqual([0]);
  });
});

it('a store that is being opened reads no further when it is closed', async () => {
  const reads = async (closeAt: number) => {
    const disk = await diskOf(true);
    const before = disk.log.length;
    const { fileSystem, calls } = interrupted(disk, closeAt, () => void store.close());
    const store = storeOn(fileSystem);
    await store.open(new AbortController().signal).catch(() => {});
    await store.close();
    return {
      calls: calls(),
      reads: disk.log.slice(before).filter((each) => /^read \d/.test(each)),
    };
  };
  const whole = await reads(0);
  expect(whole.reads.length).toBeGreaterThanOrEqual(4);
  const counts = await Promise.all(
    Array.from({ length: whole.calls }, async (_, at) => (await reads(at + 1)).reads.length),
  );
  // The one that it was at is the last.
  expect(counts).toContain(1);
  expect(counts).toContain(2);
});
