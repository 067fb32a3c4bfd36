import { describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';
import { CrashingDisk } from './testing/crashingDisk.ts';

const PIECE = 16_384;
const LINK = '/root/ns/models/one';
const FOLDER = '/root/ns/.sluice/uid/1';
const never = new AbortController().signal;

async function startDisk(): Promise<CrashingDisk> {
  const disk = new CrashingDisk();
  await disk.makeFolder('/root');
  await disk.makeFolder('/root/ns');
  return disk;
}

function layoutOfFiles(count: number) {
  const files = Array.from({ length: count }, (_, at) => ({
    path: `folder ${at % 7}/file ${at}`,
    sizeBytes: at % 5 === 4 ? 0 : PIECE + at,
  }));
  return layoutOf(files, PIECE);
}

/** From whatever the disk has to the placed version; notes the pieces that are verified. */
async function build(
  disk: CrashingDisk,
  layout: ReturnType<typeof layoutOf>,
  stored = new Set<number>(),
): Promise<void> {
  const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) };
  const store = new FileStore(
    { folder: FOLDER, layout, link: LINK, fileMode: 0o444 },
    { fileSystem: disk, clock },
  );
  try {
    const { verified } = await store.open(never);
    for (const piece of stored) expect(verified.has(piece), `piece ${piece} is lost`).toBe(true);
    for (let piece = 0; piece < layout.pieceCount; piece += 1) {
      const bytes = Buffer.alloc(layout.pieceSizeBytes(piece), piece + 1);
      if (!verified.has(piece)) await store.put(piece, bytes);
      stored.add(piece);
    }
    await store.complete(never);
  } finally {
    await store.close();
  }
}

async function expectWhole(disk: CrashingDisk, layout: ReturnType<typeof layoutOf>): Promise<void> {
  expect(await disk.readLink(LINK)).toBe('../.sluice/uid/1');
  for (let piece = 0; piece < layout.pieceCount; piece += 1) {
    const { fileIndex, offset } = layout.locate(piece);
    const bytes = Buffer.alloc(layout.pieceSizeBytes(piece));
    const file = await disk.open(`${FOLDER}/${layout.files[fileIndex]?.path}`, 'read');
    expect(await file.read(bytes, offset)).toBe(bytes.length);
    expect(bytes.equals(Buffer.alloc(bytes.length, piece + 1)), `piece ${piece}`).toBe(true);
    await file.close();
  }
}

describe('a store on a disk that fails', () => {
  it.each([
    ['ENOSPC', 'DiskFull'],
    ['EDQUOT', 'DiskFull'],
    ['EIO', 'DiskError'],
  ])(
    'says %s by its name at whatever operation, and is whole at the next try',
    async (code, named) => {
      const layout = layoutOfFiles(6);
      const whole = await startDisk();
      const before = whole.operations;
      await build(whole, layout);
      const operations = whole.operations - before;
      let failed = 0;
      for (let operation = 1; operation <= operations; operation += 1) {
        const disk = await startDisk();
        disk.fault = { operation: disk.operations + operation, code, onwards: false };
        const error = await build(disk, layout).catch((thrown: unknown) => thrown);
        if (error !== undefined) {
          failed += 1;
          expect(error, `operation ${operation}`).toMatchObject({ code: named });
        }
        disk.fault = undefined;
        await build(disk, layout);
        await expectWhole(disk, layout);
        expect(disk.openedFiles).toBe(0);
      }
      // The feed is the only thing that may fail and be done without.
      expect(failed).toBeGreaterThan(operations * 0.9);
    },
  );

  it.each([
    ['once', false, false],
    ['and stays so', true, false],
    ['in the middle of a write', false, true],
    ['in the middle of every write', true, true],
  ])(
    'loses nothing verified, and shows nothing half, when it fails %s',
    async (_, onwards, isTorn) => {
      const layout = layoutOfFiles(6);
      const whole = await startDisk();
      const before = whole.operations;
      await build(whole, layout);
      const log = whole.log.slice(before);
      for (const [at, what] of log.entries()) {
        const disk = await startDisk();
        const operation = disk.operations + at + 1;
        disk.fault = { operation, code: 'ENOSPC', onwards, isTorn };
        const stored = new Set<number>();
        const error = await build(disk, layout, stored).catch((thrown: unknown) => thrown);
        if (error !== undefined) expect(error, what).toMatchObject({ code: 'DiskFull' });
        // As a new process finds it.
        disk.startAnew();
        if ((await disk.readLink(LINK)) !== undefined) await expectWhole(disk, layout);
        // What could not be synced nobody knows (docs/architecture.md): that alone is hashed or fetched
        // again. With a disk that fails from here on the same is said of everything unsynced.
        const isSyncLost = onwards || what.startsWith('sync');
        await build(disk, layout, isSyncLost ? undefined : stored);
        await expectWhole(disk, layout);
        expect(disk.openedFiles).toBe(0);
      }
    },
  );

  it('says by its name that a piece cannot be read, or is not all there', async () => {
    const layout = layoutOfFiles(2);
    const disk = await startDisk();
    await build(disk, layout);
    const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) };
    const store = new FileStore(
      { folder: FOLDER, layout, link: LINK },
      { fileSystem: disk, clock },
    );
    await store.open(never);
    disk.fault = { operation: 0, code: 'EIO', onwards: true, kinds: new Set(['read']) };
    await expect(store.read(0, 0, 10)).rejects.toMatchObject({ code: 'DiskError' });
    disk.fault = undefined;
    expect(await store.read(0, 0, 10)).toEqual(Buffer.alloc(10, 1));
    const file = await disk.open(`${FOLDER}/${layout.files[0]?.path}`, 'write');
    await file.truncate(5);
    await file.close();
    await expect(store.read(0, 0, 10)).rejects.toMatchObject({ code: 'DiskError' });
    await store.close();
  });

  it('shows nothing while the disk stays full', async () => {
    const layout = layoutOfFiles(6);
    const disk = await startDisk();
    const kinds = new Set(['write', 'sync']);
    disk.fault = { operation: 0, code: 'ENOSPC', onwards: true, kinds };
    await expect(build(disk, layout)).rejects.toMatchObject({ code: 'DiskFull' });
    expect(await disk.readLink(LINK)).toBeUndefined();
  });
});

describe('a store of many files', () => {
  it('keeps few of them open', async () => {
    const layout = layoutOfFiles(1000);
    const disk = await startDisk();
    await build(disk, layout);
    await expectWhole(disk, layout);
    // Its 32, what it keeps for itself, and those that are being synced or closed.
    expect(disk.mostOpenedFiles).toBeLessThan(64);
    expect(disk.openedFiles).toBe(0);
  });
});
