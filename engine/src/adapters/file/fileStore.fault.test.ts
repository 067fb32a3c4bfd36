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

/** From whatever the disk has to the placed version. */
async function build(disk: CrashingDisk, layout: ReturnType<typeof layoutOf>): Promise<void> {
  const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) };
  const store = new FileStore(
    { folder: FOLDER, layout, link: LINK, fileMode: 0o444 },
    { fileSystem: disk, clock },
  );
  try {
    const { verified } = await store.open(never);
    for (let piece = 0; piece < layout.pieceCount; piece += 1) {
      const bytes = Buffer.alloc(layout.pieceSizeBytes(piece), piece + 1);
      if (!verified.has(piece)) await store.put(piece, bytes);
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
