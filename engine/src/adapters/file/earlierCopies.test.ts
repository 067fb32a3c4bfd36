import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Layout, layoutOf } from '../../pieces/layout.ts';
import { SeededRandom } from '../../sim/seededRandom.ts';
import { FileStore } from './fileStore.ts';
import { CrashingDisk } from './testing/crashingDisk.ts';

const PIECE = 16_384;
const LINK = '/root/ns/models/one';
const never = new AbortController().signal;
const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) };

const BODIES: Readonly<Record<string, Buffer>> = {
  'a/long.bin': bodyOf('long', 3 * PIECE + 100),
  'a/short.bin': bodyOf('short', 700),
  empty: Buffer.alloc(0),
};

let disk: CrashingDisk;

beforeEach(async () => {
  disk = await newDisk();
});

async function newDisk(): Promise<CrashingDisk> {
  const made = new CrashingDisk();
  await made.makeFolder('/root');
  await made.makeFolder('/root/ns');
  await made.syncFolder('/root');
  await made.syncFolder('/');
  return made;
}

function bodyOf(seed: string, sizeBytes: number): Buffer {
  const block = createHash('sha256').update(seed).digest();
  return Buffer.alloc(sizeBytes, Buffer.concat([block, Buffer.from('no period of the pieces')]));
}

const folderOf = (epoch: number) => `/root/ns/.sluice/uid/${epoch}`;

interface Version {
  readonly epoch: number;
  readonly bodies: Readonly<Record<string, Buffer>>;
  readonly pieceLengthBytes?: number;
  readonly named?: boolean;
  readonly mustMatch?: boolean;
}

function layoutFor({ bodies, pieceLengthBytes = PIECE }: Version): Layout {
  const files = Object.entries(bodies).map(([path, { length }]) => ({ path, sizeBytes: length }));
  return layoutOf(files, pieceLengthBytes);
}

function storeOf(version: Version): FileStore {
  const { epoch, bodies, named = true, mustMatch } = version;
  const digests = Object.entries(bodies).map(
    ([path, body]) => [path, createHash('sha256').update(body).digest('hex')] as const,
  );
  return new FileStore(
    {
      folder: folderOf(epoch),
      layout: layoutFor(version),
      ...(named && { digests: new Map(digests) }),
      ...(mustMatch !== undefined && { mustMatch }),
      earlier: Array.from({ length: epoch - 1 }, (_, at) => folderOf(epoch - 1 - at)),
      link: LINK,
    },
    { fileSystem: disk, clock },
  );
}

function pieceOf(version: Version, piece: number): Buffer {
  const layout = layoutFor(version);
  const { fileIndex, offset } = layout.locate(piece);
  const body = version.bodies[layout.files[fileIndex]?.path ?? ''] as Buffer;
  return body.subarray(offset, offset + layout.pieceSizeBytes(piece));
}

/** Takes over what it can, and is given the rest; answers what it was given. */
async function build(version: Version): Promise<number[]> {
  const store = storeOf(version);
  const given: number[] = [];
  try {
    const { verified, proven } = await store.open(never);
    for (let piece = 0; piece < layoutFor(version).pieceCount; piece += 1) {
      const hash = proven.get(piece);
      if (hash !== undefined && verified.get(piece)?.toString() === hash.toString()) continue;
      if (hash !== undefined && (await store.copy(piece, hash)).stored) continue;
      given.push(piece);
      await store.put(piece, pieceOf(version, piece));
    }
    await store.complete(never);
  } finally {
    await store.close();
  }
  return given;
}

async function expectVisible({ epoch, bodies }: Version): Promise<void> {
  expect(await disk.readLink(LINK)).toBe(`../.sluice/uid/${epoch}`);
  for (const [path, body] of Object.entries(bodies)) {
    const file = await disk.open(`${folderOf(epoch)}/${path}`, 'read');
    const bytes = Buffer.alloc(body.length);
    expect(await file.read(bytes, 0)).toBe(body.length);
    expect(bytes.equals(body), path).toBe(true);
    await file.close();
  }
}

async function alter(path: string, at: number): Promise<void> {
  const file = await disk.open(path, 'write');
  await file.write(Buffer.from('something else'), at);
  await file.close();
}

const first: Version = { epoch: 1, bodies: BODIES };

describe.each([
  ['cannot share bytes', false],
  ['can share bytes', true],
])('a version beside an earlier one, where files %s', (_, canClone) => {
  beforeEach(() => {
    disk.canClone = canClone;
  });

  it('takes over files of the same digest, also under another name', async () => {
    expect(await build(first)).toEqual([0, 1, 2, 3, 4]);
    const { 'a/long.bin': long, ...rest } = BODIES as Record<string, Buffer>;
    const second = {
      epoch: 2,
      bodies: { ...rest, 'b/moved.bin': long as Buffer, x: bodyOf('x', 9) },
    };
    expect(await build(second)).toEqual([5]);
    await expectVisible(second);
  });

  it('takes over what was cut into other pieces', async () => {
    await build(first);
    const second = { ...first, epoch: 2, pieceLengthBytes: 2 * PIECE };
    expect(await build(second)).toEqual([]);
    await expectVisible(second);
  });

  it('does not take over what somebody has altered', async () => {
    await build(first);
    await alter(`${folderOf(1)}/a/long.bin`, PIECE + 5);
    const second = { ...first, epoch: 2 };
    expect(await build(second)).toEqual([1]);
    await expectVisible(second);
    await alter(`${folderOf(2)}/a/long.bin`, PIECE + 5);
    // Cut otherwise, the digest alone can tell.
    const third = { ...first, epoch: 3, pieceLengthBytes: 2 * PIECE };
    expect(await build(third)).toEqual([0, 1]);
    await expectVisible(third);
  });

  it('comes out right whatever operation fails, or ends the process or the power', async () => {
    const start = async () => {
      disk = await newDisk();
      disk.canClone = canClone;
      await build(first);
    };
    const seeded = new SeededRandom(20);
    const random = () => seeded.next();
    await start();
    const second = { epoch: 2, bodies: { ...BODIES, 'b/new': bodyOf('new', PIECE + 3) } };
    const before = disk.operations;
    await build(second);
    const operations = disk.operations - before;
    for (let operation = 1; operation <= operations; operation += 1) {
      for (const [code, onwards] of [
        ['EIO', false],
        ['ENOSPC', false],
        ['CRASH', true],
        ['POWER', true],
      ] as const) {
        await start();
        disk.fault = { operation: disk.operations + operation, code, onwards };
        const thrown: unknown = await build(second).catch((error: unknown) => error);
        const isCoded = ['DiskError', 'DiskFull'].includes(
          (thrown as { code?: string }).code ?? '',
        );
        if (!Array.isArray(thrown))
          expect(isCoded, `${code} at ${operation}: ${thrown}`).toBe(true);
        if (code === 'POWER') disk.losePower(random);
        else disk.startAnew();
        expect(await disk.readLink(LINK)).toMatch(/\/[12]$/);
        // Nothing is lost by it: only what is new has to be given.
        const given = await build(second);
        expect(
          given.every((piece) => piece >= 5),
          `${given}`,
        ).toBe(true);
        await expectVisible(second);
        expect(disk.openedFiles).toBe(0);
      }
    }
  }, 60_000);
});

describe('what an earlier version has', () => {
  it('is found by the hash of a piece where there are no digests', async () => {
    const unnamed = { ...first, named: false };
    await build(unnamed);
    const store = storeOf({ ...unnamed, epoch: 2 });
    const { proven } = await store.open(never);
    expect(proven.size).toBe(0);
    const { hash } = await store.put(0, pieceOf(first, 0));
    expect(store.hasEarlier(0, hash)).toBe(true);
    expect(store.hasEarlier(1, Buffer.alloc(32))).toBe(false);
    expect(await store.copy(1, Buffer.alloc(32))).toMatchObject({ stored: false });
    // Of a piece of another length it is nothing.
    expect(await store.copy(3, hash)).toMatchObject({ stored: false });
    expect(await store.copy(2, hash)).toMatchObject({ stored: true });
    await store.close();
  });

  it('is none where its digest was wrong and that was no error', async () => {
    const cached = { ...first, mustMatch: false };
    const wrong = storeOf(cached);
    await wrong.open(never);
    for (const piece of [0, 1, 2, 3]) await wrong.put(piece, pieceOf(first, piece));
    await wrong.put(4, Buffer.alloc(700, 1));
    await wrong.complete(never);
    await wrong.close();
    expect(await build({ ...cached, epoch: 2 })).toEqual([4]);
  });

  it('is nothing where what stands beside it cannot be read', async () => {
    await build(first);
    await alter(`${folderOf(1)}.files`, 0);
    expect(await build({ ...first, epoch: 2 })).toEqual([0, 1, 2, 3, 4]);
  });
});
