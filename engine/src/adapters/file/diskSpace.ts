import type { Stats } from 'node:fs';
import { statfs } from 'node:fs/promises';

export interface DiskSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export class DiskPressureError extends Error {
  readonly code = 'DiskPressure';

  constructor(message: string) {
    super(message);
    this.name = 'DiskPressureError';
  }
}

/** Of the file system that holds the folder; what a process without privileges may take. */
export async function diskSpaceOf(folder: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** What the kernel counts blocks in, whatever the disk's are. */
const BLOCK_BYTES = 512;

/** That the disk has given the file space for; a file that is not there has none. */
export function givenBytes(facts: Pick<Stats, 'blocks'> | undefined): number {
  return (facts?.blocks ?? 0) * BLOCK_BYTES;
}

export interface SpaceDemand {
  readonly neededBytes: number;
  /** What others may still take, whatever is free now. */
  readonly promisedBytes: number;
}

/** Throws when so many more bytes would leave less than the part that must stay free. */
export function checkSpace(
  { freeBytes, totalBytes }: DiskSpace,
  { neededBytes, promisedBytes }: SpaceDemand,
  minFreePercent: number,
): void {
  const keepBytes = Math.ceil((totalBytes * minFreePercent) / 100);
  if (neededBytes === 0 || freeBytes - promisedBytes - neededBytes >= keepBytes) return;
  const promised =
    promisedBytes > 0 ? `, and others are still to write ${inUnits(promisedBytes)}` : '';
  throw new DiskPressureError(
    `the disk has ${inUnits(freeBytes)} free of ${inUnits(totalBytes)}${promised}; the files need ` +
      `${inUnits(neededBytes)} and ${minFreePercent} % (${inUnits(keepBytes)}) must stay free`,
  );
}

export function inUnits(bytes: number): string {
  if (bytes > 0 && bytes < 2 ** 30) return `${(bytes / 2 ** 20).toFixed(2)} MiB`;
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
