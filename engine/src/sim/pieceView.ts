import type { Loan, PieceBuffers } from '../ports/pieceBuffers.ts';
import type { TrueFile } from './trueFile.ts';

/** What is known of a piece that comes in. */
interface Incoming {
  readonly sizeBytes: number;
  /** Where in the file it begins, by the first bytes that came. */
  start: number | undefined;
  writtenBytes: number;
  /** Its own memory, as soon as something came that the file does not have there. */
  own: Uint8Array | undefined;
}

/**
 * Memory for a piece that comes in. It takes up none as long as what is written into it is what
 * the file has at one place: then it is a view of the file.
 */
export class PieceView extends Uint8Array {
  readonly #file: TrueFile;
  readonly #incoming: Incoming;
  /** In the piece. */
  readonly #at: number;

  constructor(file: TrueFile, incoming: Incoming, at: number, length: number) {
    const start = incoming.start ?? 0;
    super(file.bytes.buffer, Math.min(start + at, file.bytes.byteLength - length), length);
    this.#file = file;
    this.#incoming = incoming;
    this.#at = at;
  }

  override set(source: Uint8Array, offset = 0): void {
    const incoming = this.#incoming;
    const at = this.#at + offset;
    incoming.writtenBytes += source.byteLength;
    const place = this.#file.placeOf(source);
    if (incoming.own === undefined && place !== undefined) {
      incoming.start ??= place - at;
      if (incoming.start === place - at) return;
    }
    this.#ownMemory().set(source, at);
  }

  /** For reading, and for writing as long as it has no memory of its own. */
  override subarray(begin = 0, end = this.byteLength): Uint8Array<ArrayBuffer> {
    const { own } = this.#incoming;
    if (own !== undefined) {
      return own.subarray(this.#at + begin, this.#at + end) as Uint8Array<ArrayBuffer>;
    }
    return new PieceView(this.#file, this.#incoming, this.#at + begin, end - begin);
  }

  /** The bytes as they came; with a hole in them they are zeros. */
  get content(): Uint8Array {
    const { own, start, sizeBytes, writtenBytes } = this.#incoming;
    if (own !== undefined) return own;
    if (start === undefined || writtenBytes < sizeBytes) return new Uint8Array(sizeBytes);
    return this.#file.bytes.subarray(start, start + sizeBytes);
  }

  #ownMemory(): Uint8Array {
    const incoming = this.#incoming;
    if (incoming.own === undefined) {
      incoming.own = new Uint8Array(incoming.sizeBytes);
      const { start } = incoming;
      // What has come so far was the file's; the rest comes and is written over it.
      if (start !== undefined) {
        incoming.own.set(this.#file.bytes.subarray(Math.max(0, start), start + incoming.sizeBytes));
      }
    }
    return incoming.own;
  }
}

/** Of one host, for its one transfer: whatever it has on disk it can also lend, or nothing of it. */
export class SharedPieces implements PieceBuffers {
  readonly roomBytes = Number.POSITIVE_INFINITY;
  readonly sendingRoomBytes = Number.POSITIVE_INFINITY;
  readonly #fileNow: () => TrueFile;
  readonly #isLending: boolean;
  #kept: Uint8Array;

  constructor(fileNow: () => TrueFile, { isLending = true } = {}) {
    this.#fileNow = fileNow;
    this.#isLending = isLending;
    this.#kept = new Uint8Array(fileNow().layout.pieceCount);
  }

  take(sizeBytes: number): Uint8Array {
    const incoming = { sizeBytes, start: undefined, writtenBytes: 0, own: undefined };
    return new PieceView(this.#fileNow(), incoming, 0, sizeBytes);
  }

  takeToSend(sizeBytes: number): Loan {
    const view = this.take(sizeBytes);
    return {
      // Once it was read into, a view of the place that was read.
      get bytes() {
        return view.subarray();
      },
      release: () => {},
    };
  }

  drop(): void {}

  keep(_owner: string, piece: number): void {
    this.#kept[piece] = 1;
  }

  lend(_owner: string, piece: number): Loan | undefined {
    if (!this.#isLending || this.#kept[piece] === 0) return undefined;
    return { bytes: this.#fileNow().piece(piece), release: () => {} };
  }

  discard(_owner: string, piece: number): void {
    this.#kept[piece] = 0;
  }

  forget(): void {
    this.#kept = new Uint8Array(this.#fileNow().layout.pieceCount);
  }
}
