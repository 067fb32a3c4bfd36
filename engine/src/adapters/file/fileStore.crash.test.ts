import { createHash } from 'node:crypto';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { leafCountOf, pieceHash } from '../../feed/pieceHash.ts';
import { layoutOf } from '../../pieces/layout.ts';
import type { Clock } from '../../ports/clock.ts';
import { FileStore } from './fileStore.ts';
import { RECORD_BYTES } from './pieceRecord.ts';
import { CrashingDisk } from './testing/crashingDisk.ts';

const PIECE = 16_384;
const FILES = [
  { path: 'a/deep/one.bin', sizeBytes: 3 * PIECE + 100 },
  { path: 'empty', sizeBytes: 0 },
  { path: 'two.bin', sizeBytes: 2 * PIECE },
  { path: 'z/empty too', sizeBytes: 0 },
];
const LINK = '/root/ns/models/one';
const never = new AbortController().signal;
const layout = layoutOf(FILES, PIECE);

const folderOf = (epoch: number) => `/root/ns/.sluice/uid/${epoch}`;

/** Other bytes in every epoch. */
function bodyOf(fileIndex: number, epoch: number): Buffer {
  const { sizeBytes } = layout.files[fileIndex] as { sizeBytes: number };
  const seed = createHash('sha256').update(`${fileIndex} ${epoch}`).digest();
  return Buffer.alloc(sizeBytes, seed);
}

function pieceOf(piece: number, epoch: number): Buffer {
  const { fileIndex, offset } = layout.locate(piece);
  return bodyOf(fileIndex, epoch).subarray(offset, offset + layout.pieceSizeBytes(piece));
}

function hashOf(piece: number, bytes: Uint8Array): Buffer {
  const { fileIndex } = layout.locate(piece);
  const sizes = { fileSizeBytes: layout.files[fileIndex]?.sizeBytes ?? 0, pieceLengthBytes: PIECE };
  const sizeBytes = layout.pieceSizeBytes(piece);
  return pieceHash(bytes, leafCountOf({ ...sizes, sizeBytes }));
}

/** What somebody signed who is revoked: as long, and other bytes most times. */
function lieOf(piece: number, random: () => number): Buffer {
  return Buffer.alloc(layout.pieceSizeBytes(piece), 200 + Math.floor(random() * 50));
}

function digestsOf(epoch: number): Map<string, string> {
  return new Map(
    layout.files.map((file, index) => [
      file.path,
      createHash('sha256').update(bodyOf(index, epoch)).digest('hex'),
    ]),
  );
}

class ManualClock implements Clock {
  readonly #due = new Set<() => void>();

  now(): number {
    return 0;
  }

  setTimer(_delayMs: number, callback: () => void) {
    this.#due.add(callback);
    return { cancel: () => void this.#due.delete(callback) };
  }

  /** Everything that waits for time happens, and what follows from it. */
  async pass(): Promise<void> {
    for (const callback of [...this.#due]) {
      this.#due.delete(callback);
      callback();
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The same numbers for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Run {
  readonly disk: CrashingDisk;
  readonly epoch: number;
  readonly random: () => number;
  /** Pieces that must be there after the crash. */
  readonly durable: Set<number>;
  /** Which those are: what a sync that went through has put on the disk, or all that put() answered. */
  readonly survives: 'synced' | 'stored';
  /** Whether pieces come that are not right, and are written once more. */
  readonly lies: boolean;
}

function runOf(
  disk: CrashingDisk,
  epoch: number,
  random: () => number,
  { survives = 'synced', lies = false }: Partial<Pick<Run, 'survives' | 'lies'>> = {},
): Run {
  return { disk, epoch, random, durable: new Set(), survives, lies };
}

/** From what the disk has to the placed version; rejects when the disk crashes. */
async function build({
  disk,
  epoch,
  random,
  durable,
  survives,
  lies,
}: Run): Promise<{ reused: number }> {
  const clock = new ManualClock();
  const store = new FileStore(
    { folder: folderOf(epoch), layout, digests: digestsOf(epoch), link: LINK, fileMode: 0o444 },
    { fileSystem: disk, clock },
  );
  try {
    const { verified } = await store.open(never);
    const stored = new Set<number>();
    for (const [piece, hash] of verified) {
      const bytes = await store.read(piece, 0, layout.pieceSizeBytes(piece));
      expect(Buffer.compare(hash, hashOf(piece, bytes)), `hash of piece ${piece}`).toBe(0);
      // What was a lie is found by its hash, and fetched again.
      if (Buffer.compare(bytes, pieceOf(piece, epoch)) === 0) stored.add(piece);
    }
    const reused = stored.size;
    for (const piece of durable) expect([...stored]).toContain(piece);
    const missing = Array.from({ length: layout.pieceCount }, (_, piece) => piece)
      .filter((piece) => !stored.has(piece))
      .sort(() => random() - 0.5);
    const put = async (piece: number, bytes: Buffer) => {
      // Also while a sync is under way.
      const passing = random() < 0.2 ? clock.pass() : undefined;
      expect((await store.put(piece, bytes)).stored).toBe(true);
      await passing;
    };
    for (let piece = missing.pop(); piece !== undefined; piece = missing.pop()) {
      if (lies && random() < 0.3) await put(piece, lieOf(piece, random));
      if (random() < 0.3) await clock.pass();
      await put(piece, pieceOf(piece, epoch));
      stored.add(piece);
      if (survives === 'stored') durable.add(piece);
      if (lies && random() < 0.15) {
        // What was here and right is told to be something else, and then that it was right.
        const [other] = [...stored].sort(() => random() - 0.5);
        durable.delete(other as number);
        stored.delete(other as number);
        await put(other as number, lieOf(other as number, random));
        missing.push(other as number);
      }
      if (random() > 0.3) continue;
      await clock.pass();
      if (!hasCrashed(disk)) for (const each of stored) durable.add(each);
    }
    await store.complete(never);
    return { reused };
  } finally {
    await store.close();
  }
}

/** Which version is visible; it must be whole. */
async function visible(disk: CrashingDisk): Promise<number | undefined> {
  const target = await disk.readLink(LINK);
  if (target === undefined) return undefined;
  const folder = path.resolve(path.dirname(LINK), target);
  const epoch = Number(path.basename(folder));
  for (const [index, file] of layout.files.entries()) {
    const opened = await disk.open(path.join(folder, file.path), 'read');
    const { sizeBytes } = await opened.facts();
    const bytes = Buffer.alloc(sizeBytes);
    await opened.read(bytes, 0);
    expect(Buffer.compare(bytes, bodyOf(index, epoch)), `${file.path} of ${epoch}`).toBe(0);
    await opened.close();
  }
  return epoch;
}

async function startDisk(): Promise<CrashingDisk> {
  const disk = new CrashingDisk();
  await disk.makeFolder('/root');
  await disk.makeFolder('/root/ns');
  await disk.syncFolder('/root');
  await disk.syncFolder('/');
  return disk;
}

async function operationsOf(epoch: number, seed: number): Promise<number> {
  const disk = await startDisk();
  const before = disk.operations;
  await build(runOf(disk, epoch, randomOf(seed)));
  return disk.operations - before;
}

/** Somebody removes a file, or writes into one, while no store is open. */
async function tamper({ disk, durable, random }: Run, how: 'remove' | 'alter'): Promise<void> {
  const file = path.join(folderOf(1), random() < 0.5 ? 'a/deep/one.bin' : 'two.bin');
  if ((await disk.facts(file)) === undefined) return;
  durable.clear();
  if (how === 'alter') {
    const opened = await disk.open(file, 'write');
    await opened.write(Buffer.alloc(100, 1), Math.floor(random() * PIECE));
    // Else a power loss could keep these bytes and forget when the file was changed.
    await opened.sync();
    await opened.close();
    return;
  }
  await disk.remove(file);
  await disk.syncFolder(path.dirname(file));
}

/** Crashes once at that operation; answers whether it was reached. */
async function crash(run: Run, operation: number): Promise<boolean> {
  const { disk } = run;
  disk.fault = { operation: disk.operations + operation, code: 'CRASH', onwards: true };
  return build(run).then(
    () => false,
    (error) => {
      const { cause } = error as Error;
      if ((cause as { code?: string } | undefined)?.code !== 'CRASH') throw error;
      return true;
    },
  );
}

function storeOn(disk: CrashingDisk): FileStore {
  return new FileStore(
    { folder: folderOf(1), layout, digests: digestsOf(1), link: LINK },
    { fileSystem: disk, clock: new ManualClock() },
  );
}

function hasCrashed({ fault, operations }: CrashingDisk): boolean {
  return fault !== undefined && operations >= fault.operation;
}

/** With zeros. */
async function overwrite(disk: CrashingDisk, path: string, at: number, sizeBytes: number) {
  const file = await disk.open(path, 'write');
  await file.write(Buffer.alloc(sizeBytes), at);
  await file.sync();
  await file.close();
}

/** The mark of the first piece's record is gone, and its hash is not. */
async function eraseHalf(disk: CrashingDisk): Promise<void> {
  const path = `${folderOf(1)}.state`;
  const { sizeBytes = 0 } = (await disk.facts(path)) ?? {};
  await overwrite(disk, path, sizeBytes - layout.pieceCount * RECORD_BYTES, 1);
}

/** Puts the first piece, and syncs it. */
async function putFirst(disk: CrashingDisk, bytes: Buffer): Promise<void> {
  const store = storeOn(disk);
  await store.open(never);
  await store.put(0, bytes).finally(() => store.close());
}

/** Looks at a piece of a version: whether it stands. Undefined: the disk crashed meanwhile. */
async function standsStill(
  disk: CrashingDisk,
  piece: number,
  crashAt?: number,
): Promise<boolean | undefined> {
  const store = storeOn(disk);
  const { verified } = await store.open(never);
  if (!verified.has(piece)) {
    await store.close();
    return false;
  }
  if (crashAt !== undefined) {
    disk.fault = { operation: disk.operations + crashAt, code: 'CRASH', onwards: true };
  }
  const stands = await store.recheck(piece, never).catch(() => undefined);
  if (hasCrashed(disk)) return undefined;
  disk.fault = undefined;
  await store.close();
  return stands;
}

/** A failure says in which case, so that it can be repeated. */
async function inCase(name: string, act: () => Promise<void>): Promise<void> {
  await act().catch((cause: unknown) => {
    throw new Error(`${name}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  });
}

/** Every operation once more for each operation: seconds, and more on a machine that is busy. */
const TIMEOUT_MS = 60_000;

describe('a store whose machine loses power', { timeout: TIMEOUT_MS }, () => {
  it('never counts a wrong piece nor shows half a version, at whatever operation', async () => {
    for (let seed = 1; seed <= 3; seed += 1) {
      const operations = await operationsOf(2, seed);
      for (let operation = 1; operation <= operations; operation += 1) {
        await inCase(`seed ${seed}, operation ${operation}`, async () => {
          const disk = await startDisk();
          const random = randomOf(seed);
          await build(runOf(disk, 1, randomOf(7)));
          const run = runOf(disk, 2, random);
          await crash(run, operation);
          disk.losePower(randomOf(seed * 1000 + operation));
          expect(await visible(disk)).toBeOneOf([1, 2]);
          await build(run);
          expect(await visible(disk)).toBe(2);
        });
      }
    }
  });

  it('never does so when the power goes again and again, and files change meanwhile', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer(),
        fc.array(
          fc.record({
            operation: fc.integer({ min: 1, max: 180 }),
            kill: fc.boolean(),
            harm: fc.constantFrom('none', 'none', 'remove', 'alter'),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        async (seed, crashes) => {
          const random = randomOf(seed);
          const disk = await startDisk();
          const run = runOf(disk, 1, random, { lies: true });
          for (const { operation, kill, harm } of crashes) {
            await crash(run, operation);
            if (kill) disk.startAnew();
            else disk.losePower(random);
            expect(await visible(disk)).toBeOneOf([undefined, 1]);
            // What is visible is the user's to change; what is built aside must come out right.
            const isVisible = (await disk.readLink(LINK)) !== undefined;
            if (harm !== 'none' && !isVisible) await tamper(run, harm);
          }
          await build(run);
          expect(await visible(disk)).toBe(1);
        },
      ),
      { numRuns: 200 },
    );
  });

  it.each<[string, (disk: CrashingDisk) => Promise<void>]>([
    ['are withdrawn', async () => {}],
    ['were half erased', eraseHalf],
    ['are found altered', (disk) => overwrite(disk, `${folderOf(1)}/a/deep/one.bin`, 0, 100)],
  ])('never says of bytes written anew what was noted of those that %s', async (_, meanwhile) => {
    const [first, anew] = [pieceOf(0, 1), pieceOf(0, 2)];
    let reached = true;
    let survived = 0;
    for (let operation = 1; reached; operation += 1) {
      for (let seed = 1; seed <= 20; seed += 1) {
        await inCase(`seed ${seed}, operation ${operation}`, async () => {
          const disk = await startDisk();
          await putFirst(disk, first);
          await meanwhile(disk);
          disk.fault = { operation: disk.operations + operation, code: 'CRASH', onwards: true };
          await putFirst(disk, anew).catch(() => {});
          reached = hasCrashed(disk);
          disk.losePower(randomOf(seed * 1000 + operation));
          const store = storeOn(disk);
          const hash = (await store.open(never)).verified.get(0);
          if (hash !== undefined) {
            const bytes = await store.read(0, 0, PIECE);
            expect(Buffer.compare(hash, hashOf(0, bytes)), 'hash of the piece').toBe(0);
            survived += 1;
          }
          await store.close();
        });
      }
    }
    expect(survived).toBeGreaterThan(20);
  });

  it('never does so when it finds rot, which it lacks from then on', async () => {
    for (let seed = 1; seed <= 5; seed += 1) {
      let reached = true;
      for (let operation = 1; reached; operation += 1) {
        await inCase(`seed ${seed}, operation ${operation}`, async () => {
          const disk = await startDisk();
          const random = randomOf(seed * 1000 + operation);
          await build(runOf(disk, 1, randomOf(seed)));
          const piece = Math.floor(random() * layout.pieceCount);
          const { fileIndex, offset } = layout.locate(piece);
          disk.rot(`${folderOf(1)}/${layout.files[fileIndex]?.path}`, offset + 7);
          reached = (await standsStill(disk, piece, operation)) === undefined;
          disk.losePower(random);
          // Until it is told, nobody has found anything: it is found at the next look.
          if (reached) expect(await standsStill(disk, piece)).toBe(false);
          const run = runOf(disk, 1, random);
          expect(await build(run)).toEqual({ reused: layout.pieceCount - 1 });
          expect(await visible(disk)).toBe(1);
        });
      }
    }
  });

  it('keeps a version that complete() has placed', async () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      await inCase(`seed ${seed}`, async () => {
        const disk = await startDisk();
        const run = runOf(disk, 1, randomOf(seed));
        await build(run);
        disk.losePower(run.random);
        expect(await visible(disk)).toBe(1);
        expect(await build(run)).toEqual({ reused: layout.pieceCount });
      });
    }
  });
});

describe('a store whose process is killed', { timeout: TIMEOUT_MS }, () => {
  it('has every piece that put() has answered', async () => {
    const operations = await operationsOf(1, 5);
    for (let operation = 1; operation <= operations; operation += 1) {
      await inCase(`operation ${operation}`, async () => {
        const disk = await startDisk();
        const run = runOf(disk, 1, randomOf(5), { survives: 'stored' });
        const reached = await crash(run, operation);
        expect(reached).toBe(true);
        disk.startAnew();
        await build(run);
        expect(await visible(disk)).toBe(1);
      });
    }
  });
});
