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

/** Throws when so many more bytes would leave less than the part that must stay free. */
export function checkSpace(
  { freeBytes, totalBytes }: DiskSpace,
  neededBytes: number,
  minFreePercent: number,
): void {
  const keepBytes = Math.ceil((totalBytes * minFreePercent) / 100);
  if (neededBytes === 0 || freeBytes - neededBytes >= keepBytes) return;
  throw new DiskPressureError(
    `the disk has ${inGiB(freeBytes)} free of ${inGiB(totalBytes)}; the files need ` +
      `${inGiB(neededBytes)} and ${minFreePercent} % (${inGiB(keepBytes)}) must stay free`,
  );
}

function inGiB(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
