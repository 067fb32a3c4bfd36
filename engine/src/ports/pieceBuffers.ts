/** Bytes of a piece that may be read until release() is called, once. */
export interface Loan {
  readonly bytes: Uint8Array;
  release(): void;
}

/** All memory for bytes of pieces, of all transfers of a process. */
export interface PieceBuffers {
  /** What may be taken for what comes in; negative when there is less than none. */
  readonly roomBytes: number;
  /** The same for what is sent. */
  readonly sendingRoomBytes: number;
  /**
   * For a piece; what is in it means nothing. It ends with keep() or drop(). Never refuses: who
   * begins something looks at the room first, and who has begun must be able to finish.
   */
  take(sizeBytes: number): Uint8Array;
  /** For a block that is read to be sent, until release() is called, once. */
  takeToSend(sizeBytes: number): Loan;
  /** It was taken; others may still read it or write into it, so it is not used again. */
  drop(bytes: Uint8Array): void;
  /** A verified piece that was taken. `reusable`: nobody else reads it or writes into it. */
  keep(owner: string, piece: number, bytes: Uint8Array, reusable: boolean): void;
  /** Undefined: it is on disk only, or too much is being sent already. */
  lend(owner: string, piece: number): Loan | undefined;
  /** It is not what it was taken for. */
  discard(owner: string, piece: number): void;
  /** The transfer has ended. */
  forget(owner: string): void;
}
