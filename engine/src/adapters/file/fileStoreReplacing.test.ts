/** Pieces that are written once more, because they were not what they should be. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { SeededRandom } from '../../sim/seededRandom.ts';
import type { DiskJob, DiskResult } from './diskWork.ts';
import { FileStore } from './fileStore.ts';
import type { OpenedFile } from './fileSystem.ts';
import { CrashingDisk } from './testing/crashingDisk.ts';

const PIECE = 16_384;
const FOLDER = '/root/1';
const layout = layoutOf([{ path: 'a', sizeBytes: 3 * PIECE }], PIECE);
const never = new AbortController().signal;
const right = (piece: number) => Buffer.alloc(PIECE, piece + 1);
const WRONG = Buffer.alloc(PIECE, 99);

/** Syncs of the version's file can be made to take until they are let go. */
class SlowDisk extends CrashingDisk {
  /** Of syncs that have begun. */
  readonly letGo: (() => void)[] = [];
  isSlow = false;
  /** Of a piece's bytes one half is written. */
  tearsPuts = false;

  override run(job: DiskJob): Promise<DiskResult> {
    if (job.kind === 'put' && this.tearsPuts) {
      this.fault = { operation: 0, code: 'EIO', onwards: true, isTorn: true };
    }
    return super.run(job);
  }

  override async open(at: string, access: 'read' | 'write' | 'create'): Promise<OpenedFile> {
    const file = await super.open(at, access);
    if (at !== `${FOLDER}/a`) return file;
    const syncData = async () => {
      await file.syncData();
      if (this.isSlow) await new Promise<void>((resolve) => this.letGo.push(resolve));
    };
    return { ...file, syncData };
  }
}

class Times {
  readonly #due: (() => void)[] = [];

  now(): number {
    return 0;
  }

  setTimer(_delayMs: number, callback: () => void) {
    this.#due.push(callback);
    return { cancel: () => {} };
  }

  pass(): void {
    for (const callback of this.#due.splice(0)) callback();
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

function storeOn(disk: CrashingDisk, clock = new Times(), digest?: string): FileStore {
  const digests = digest !== undefined && { digests: new Map([['a', digest]]) };
  return new FileStore({ folder: FOLDER, layout, ...digests }, { fileSystem: disk, clock });
}

async function slowDisk(): Promise<SlowDisk> {
  const disk = new SlowDisk();
  await disk.makeFolder('/root');
  await disk.syncFolder('/');
  return disk;
}

/** What the disk has of each piece that it calls verified must be that. */
async function verifiedAfterPowerLoss(disk: CrashingDisk, random: () => number): Promise<number[]> {
  disk.losePower(random);
  const store = storeOn(disk);
  const { verified } = await store.open(never);
  for (const [piece] of verified) {
    const bytes = Buffer.from(await store.read(piece, 0, PIECE));
    expect(bytes.equals(right(piece)), `piece ${piece}`).toBe(true);
  }
  await store.close();
  return [...verified.keys()];
}

const NOTHING_UNSYNCED_LIVES = () => 1;

describe('a piece that is written once more', () => {
  it('while its old bytes are being synced does not count as synced', async () => {
    // What was written to the state file lives, and what was written to the files does not.
    const disk = await slowDisk();
    const clock = new Times();
    const store = storeOn(disk, clock);
    await store.open(never);
    await store.put(0, WRONG);
    disk.isSlow = true;
    clock.pass();
    await settle();
    expect(disk.letGo).toHaveLength(1);
    await store.put(0, right(0));
    disk.isSlow = false;
    for (const go of disk.letGo) go();
    await settle();
    // As the sync of others' pieces puts the state file on the disk.
    expect(await verifiedAfterPowerLoss(disk, NOTHING_UNSYNCED_LIVES)).toEqual([]);
  });

  it('is not what it was before, when the power goes between its bytes and its record', async () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const disk = await slowDisk();
      const clock = new Times();
      const store = storeOn(disk, clock);
      await store.open(never);
      for (const piece of [0, 1]) await store.put(piece, right(piece));
      clock.pass();
      await settle();
      await store.put(0, WRONG);
      // Of the piece some sectors live: it is neither one nor the other.
      const random = new SeededRandom(seed);
      expect(await verifiedAfterPowerLoss(disk, () => random.next()), `${seed}`).toEqual([1]);
    }
  });

  it('is not what it was before, when that fails half way and others are written', async () => {
    const disk = await slowDisk();
    const store = storeOn(disk);
    await store.open(never);
    await store.put(0, right(0));
    disk.tearsPuts = true;
    await expect(store.put(0, WRONG)).rejects.toMatchObject({ code: 'DiskError' });
    disk.tearsPuts = false;
    disk.fault = undefined;
    await store.put(1, right(1));
    disk.startAnew();
    const after = storeOn(disk);
    const { verified } = await after.open(never);
    expect([...verified.keys()]).toEqual([1]);
    await after.close();
  });

  it('is in the digest of its file as it is at last, also when others are written meanwhile', async () => {
    const disk = await slowDisk();
    const whole = Buffer.concat([right(0), right(1), right(2)]);
    const digest = createHash('sha256').update(whole).digest('hex');
    const store = storeOn(disk, new Times(), digest);
    await store.open(never);
    await store.put(0, WRONG);
    await store.put(1, right(1));
    await Promise.all([store.put(0, right(0)), store.put(2, right(2))]);
    await store.complete(never);
    await store.close();
  });
});

describe('a piece that is found to be rotten', () => {
  it('stays found when the power goes, and is no reason to refuse the others', async () => {
    const disk = await slowDisk();
    const store = storeOn(disk);
    await store.open(never);
    for (const piece of [0, 1, 2]) await store.put(piece, right(piece));
    await store.complete(never);
    const file = await disk.open(`${FOLDER}/a`, 'write');
    await file.write(Buffer.from('rot'), PIECE + 7);
    await file.sync();
    await file.close();
    expect(await store.recheck(1, never)).toBe(false);
    // Else the time of the change alone would tell.
    const state = await disk.open(`${FOLDER}.state`, 'write');
    await state.truncate((await state.facts()).sizeBytes);
    await state.close();
    expect(await verifiedAfterPowerLoss(disk, NOTHING_UNSYNCED_LIVES)).toEqual([0, 2]);
  });

  it('is not called synced by a sync that was under way', async () => {
    const disk = await slowDisk();
    const clock = new Times();
    const store = storeOn(disk, clock);
    await store.open(never);
    await store.put(0, right(0));
    const file = await disk.open(`${FOLDER}/a`, 'write');
    await file.write(Buffer.from('rot'), 7);
    await file.close();
    disk.isSlow = true;
    clock.pass();
    await settle();
    expect(await store.recheck(0, never)).toBe(false);
    disk.isSlow = false;
    for (const go of disk.letGo) go();
    await settle();
    disk.startAnew();
    const after = storeOn(disk);
    expect((await after.open(never)).verified.size).toBe(0);
    await after.close();
  });
});
