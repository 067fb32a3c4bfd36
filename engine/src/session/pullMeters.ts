import type { ResponseHead } from '../ports/httpSource.ts';
import { contentRangeOf } from './originAnswer.ts';

/**
 * What came from an origin, counted in three ways that share no code: they agree, or one of them is
 * wrong. All grow only.
 */
export interface PullMeters {
  /** By the sockets, of requests that are over: heads, framing and bodies. */
  readonly socketBytes: number;
  /** By the answers, of the same requests: their heads, and the bodies that these name. */
  readonly answeredBytes: number;
  /** Of pieces that are verified, as far as this pull brought them. */
  readonly pieceBytes: number;
}

/** Counts what answers say of themselves beside what their sockets have read. */
export class AnswerMeters {
  socketBytes = 0;
  answeredBytes = 0;

  /** Of a connection that is closed, beyond its answers. */
  unasked(bytes: number): void {
    this.socketBytes += bytes;
  }

  /** Of one request. */
  begin(): AnswerMeter {
    return new AnswerMeter(this);
  }
}

export class AnswerMeter {
  readonly #meters: AnswerMeters;
  #head: ResponseHead | undefined;
  #bodyBytes = 0;

  constructor(meters: AnswerMeters) {
    this.#meters = meters;
  }

  head(head: ResponseHead): void {
    this.#head = head;
  }

  body(bytes: number): void {
    this.#bodyBytes += bytes;
  }

  /** The answer is over. `isWhole`: to its end, so that what it names has come. */
  over(socketBytes: number, isWhole: boolean): void {
    this.#meters.socketBytes += socketBytes;
    if (this.#head === undefined) return;
    const named = isWhole ? namedBytesOf(this.#head) : undefined;
    this.#meters.answeredBytes += this.#head.headerBytes + (named ?? this.#bodyBytes);
  }
}

/** Undefined: it does not say how long its body is. */
function namedBytesOf(head: ResponseHead): number | undefined {
  const range = head.status === 206 ? contentRangeOf(head) : undefined;
  if (range !== undefined) return range.end - range.start;
  const length = Number(head.headers['content-length'] ?? 'unknown');
  return Number.isSafeInteger(length) && length >= 0 ? length : undefined;
}
