/** The disk of one transfer: one version of one distribution in a folder aside. */
export interface PieceStore {
  /** Creates or resumes; tells which pieces are verified on disk already. */
  open(signal: AbortSignal): Promise<StoredState>;
  /** Keeps signed batches of the feed beside the pieces that they name. */
  keepFeed(batches: readonly Uint8Array[]): void;
  /**
   * Hashes the piece and writes it when `expected` is absent or equal.
   * The buffer belongs to the store until the promise settles.
   * `hash` is the SHA-256 Merkle root of its 16 KiB blocks (BEP 52 piece layer), 32 bytes.
   */
  put(piece: number, bytes: Uint8Array, expected?: Uint8Array): Promise<PutResult>;
  /** Whether copy() may find the piece, if this is its hash, in an earlier version. */
  hasEarlier(piece: number, hash: Uint8Array): boolean;
  /** Like put(), with the bytes that an earlier version has; not stored: it has them no more. */
  copy(piece: number, expected: Uint8Array): Promise<PutResult>;
  /** Bytes of a verified piece; `into`, if given, is as long and is what is answered. */
  read(piece: number, offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  /** All pieces are verified: sync, check each file's digest, place. Errors carry a code. */
  complete(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface StoredState {
  /** On disk and verified, with their hashes. */
  readonly verified: ReadonlyMap<number, Uint8Array>;
  /** By the digest of their file, what pieces must be; whether they are here or copy() finds them. */
  readonly proven: ReadonlyMap<number, Uint8Array>;
  /** What keepFeed() was given, as far as it reached the disk. */
  readonly feed: readonly Uint8Array[];
}

export interface PutResult {
  readonly stored: boolean;
  readonly hash: Uint8Array;
}
