export type StoreErrorCode =
  /** No space, or over a quota. */
  | 'DiskFull'
  | 'DiskError'
  /** A file's bytes are not those that the user named. */
  | 'DigestMismatch'
  /** Something that is not ours stands where a file, folder or link belongs. */
  | 'PathConflict';

export class StoreError extends Error {
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'StoreError';
    this.code = code;
  }
}

/** What an error of the file system means here. */
export function storeErrorOf(error: unknown, what: string): StoreError {
  if (error instanceof StoreError) return error;
  const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new StoreError('DiskFull', `no space left for ${what}`, error);
  }
  if (['ELOOP', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ENXIO'].includes(code)) {
    return new StoreError('PathConflict', `${what}: ${message}`, error);
  }
  return new StoreError('DiskError', `${what}: ${message}`, error);
}
