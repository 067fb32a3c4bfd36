import type { DiskResult } from './diskWork.ts';
import type { FileSystem } from './fileSystem.ts';

/** About 10 ms of the thread: pieces that come in meanwhile do not wait for a whole file. */
const STEP_BYTES = 16 * 1024 * 1024;

/** The SHA-256 of a file, from where the disk's thread has got with it; `stored`: all bytes are there. */
export async function digestOf(
  of: { readonly file: number; readonly descriptor: number; readonly sizeBytes: number },
  by: { readonly fileSystem: FileSystem; readonly signal: AbortSignal },
): Promise<DiskResult> {
  const { file, descriptor, sizeBytes } = of;
  for (let prefixBytes = STEP_BYTES; prefixBytes < sizeBytes; prefixBytes += STEP_BYTES) {
    by.signal.throwIfAborted();
    await by.fileSystem.run({ kind: 'follow', digest: { file, descriptor, prefixBytes } });
  }
  by.signal.throwIfAborted();
  return by.fileSystem.run({ kind: 'digest', file, descriptor, sizeBytes });
}
