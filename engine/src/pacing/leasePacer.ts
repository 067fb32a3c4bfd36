/** The part of a grant that paces. */
export interface PacedGrant {
  readonly rateBytesPerSecond: number;
  /** The most bytes saved up and outstanding together, over all connections. */
  readonly slackBytes: number;
  readonly connections: number;
  /** All bytes the lease may ever take, headers included. */
  readonly maxBytes: number;
  /** Counted from when the request for the grant was first sent. */
  readonly ttlMs: number;
}

/** Between two clocks that drift apart: the bound e of the design. */
const DRIFT = 0.001;
/** Resets leave before the lease ends, not as it ends. */
const EXPIRY_MARGIN_MS = 20;
/** More than the rate gives in this time is not asked for only to spare headers. */
const QUANTUM_MS = 32;
/** Under it headers and round trips would outweigh what is asked for. */
const MIN_QUANTUM_BYTES = 4_096;
/** Between two requests over one connection, timers and all. */
const ALONE_GAP_MS = 2;
/** Headers of 300 to 600 bytes are under one percent of it. */
const FRUGAL_QUANTUM_BYTES = 65_536;
/** Of an answer, until one was seen. */
const FIRST_HEADER_BYTES = 1_024;
/** An answer's headers vary by a date, an age, a request id. */
const HEADER_MARGIN_BYTES = 64;
const FIRST_TIME_TO_FIRST_BYTE_MS = 50;

/** What was spent on one request. */
export interface Reservation {
  readonly payloadBytes: number;
  readonly reservedBytes: number;
  receivedBytes: number;
}

export type Permission =
  | { readonly kind: 'request'; readonly payloadBytes: number }
  | { readonly kind: 'wait'; readonly waitMs: number }
  /** Nothing more under this grant. */
  | { readonly kind: 'stop'; readonly reason: 'expiry' | 'maxBytes' | 'headers' | 'lost' };

/**
 * The pacing state of one lease. Requests are paced, not reads: a token is spent when its byte is
 * asked for, headers included.
 *
 * Invariant: tokens + outstanding <= slack. What is asked for in any window is then at most
 * rate x window + tokens at its start, and what an origin sends in it that plus what was
 * outstanding at its start: at most rate x window + slack, however it stalls and bursts. What may
 * still come over a connection that ended without the origin's word is outstanding for good.
 */
export class LeasePacer {
  #grant: PacedGrant;
  #expiresAtMs: number;
  #tokens = 0;
  #outstanding = 0;
  #used = 0;
  #lostConnections = 0;
  #lostBytes = 0;
  #filledAtMs: number;
  #largestHeader = 0;
  #timeToFirstByteMs: number | undefined;
  #answerMs = 0;

  constructor(grant: PacedGrant, requestedAtMs: number, nowMs: number) {
    this.#grant = grant;
    this.#expiresAtMs = expiryOf(grant, requestedAtMs);
    this.#filledAtMs = nowMs;
  }

  /**
   * A renewed grant of the same lease. What is saved up stays: it was saved under the rate before,
   * and what a raise adds to the slack is saved up at the new rate like everything else.
   */
  adopt(grant: PacedGrant, requestedAtMs: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#grant = grant;
    this.#expiresAtMs = Math.max(this.#expiresAtMs, expiryOf(grant, requestedAtMs));
    this.#fill(nowMs);
  }

  /** When everything that is open must have been reset, on the holder's clock. */
  get expiresAtMs(): number {
    return this.#expiresAtMs;
  }

  /** Without those that the origin may still have open. */
  get connections(): number {
    return Math.max(0, this.#grant.connections - this.#lostConnections);
  }

  /** What the origin may still have open, and may still send over it. */
  get lost(): { readonly connections: number; readonly bytes: number } {
    return { connections: this.#lostConnections, bytes: this.#lostBytes };
  }

  /** After a shrink: whether what is outstanding has come down to the new slack. */
  get fits(): boolean {
    return this.#outstanding + Math.max(0, this.#tokens) <= this.#slackBytes;
  }

  /** What the origin may have written for this lease, charged high. */
  get usedBytes(): number {
    return this.#used + this.#outstanding;
  }

  /** Smoothed; undefined before the first answer. */
  get timeToFirstByteMs(): number | undefined {
    return this.#timeToFirstByteMs;
  }

  get tokens(): number {
    return this.#tokens;
  }

  get outstandingBytes(): number {
    return this.#outstanding;
  }

  /**
   * How large the next requests should be. The slack is shared evenly, one share being saved up
   * while every connection has another under way: what is left of the slack then takes up the
   * origin's jitter. Where there are so many connections that headers would begin to count, up to
   * what the slack has above rate x time to first byte, which is the quantum it was granted for.
   */
  quantumBytes(): number {
    const { rateBytesPerSecond: rate } = this.#grant;
    const slackBytes = this.#slackBytes;
    const { connections } = this;
    const latency = this.#timeToFirstByteMs ?? FIRST_TIME_TO_FIRST_BYTE_MS;
    const share = slackBytes / (connections + 1);
    const spare = Math.min(slackBytes - (rate * latency) / 1000, (rate * QUANTUM_MS) / 1000);
    const wanted = Math.max(share, Math.min(spare, FRUGAL_QUANTUM_BYTES), MIN_QUANTUM_BYTES);
    // Never more than could be saved up: half of the slack may be under way already.
    const most = connections > 1 ? slackBytes / 2 : Math.max(slackBytes / 2, this.#aloneBytes());
    const bytes = connections > 1 ? Math.min(wanted, most) : most;
    return Math.floor(Math.max(1, bytes - this.#headerBytes()));
  }

  /**
   * With one connection nothing is under way between two answers, so a request may be for more
   * than half: for what the rate gives while it lasts, if that much can be saved up meanwhile.
   */
  #aloneBytes(): number {
    const { rateBytesPerSecond: rate } = this.#grant;
    const latency = this.#timeToFirstByteMs ?? FIRST_TIME_TO_FIRST_BYTE_MS;
    const lasting = (rate * (this.#answerMs + ALONE_GAP_MS)) / 1000;
    return Math.min(lasting, this.#slackBytes - (rate * (latency + 1)) / 1000);
  }

  /** Whether a request for up to `wantedBytes` may start now. */
  permit(wantedBytes: number, nowMs: number): Permission {
    this.#fill(nowMs);
    const header = this.#headerBytes();
    // The slack would never hold a request that brings more than it costs.
    const least = this.#lostBytes > 0 ? Math.max(2 * header, MIN_QUANTUM_BYTES) : 2 * header;
    if (least > this.#slackBytes) {
      return { kind: 'stop', reason: this.#lostBytes > 0 ? 'lost' : 'headers' };
    }
    const payload = Math.min(wantedBytes, this.quantumBytes());
    const left = this.#grant.maxBytes - this.usedBytes;
    if (left < Math.min(payload, MIN_QUANTUM_BYTES) + header) {
      return { kind: 'stop', reason: 'maxBytes' };
    }
    const payloadBytes = Math.min(payload, left - header);
    if (nowMs + this.#expectedMs(payloadBytes) > this.#expiresAtMs) {
      return { kind: 'stop', reason: 'expiry' };
    }
    const missing = payloadBytes + header - this.#tokens;
    if (missing > 0) {
      return { kind: 'wait', waitMs: (missing / this.#effectiveRate()) * 1000 };
    }
    return { kind: 'request', payloadBytes };
  }

  /** The request was sent. */
  start(payloadBytes: number): Reservation {
    const reservedBytes = payloadBytes + this.#headerBytes();
    this.#tokens -= reservedBytes;
    this.#outstanding += reservedBytes;
    return { payloadBytes, reservedBytes, receivedBytes: 0 };
  }

  /** Bytes of its answer were read. */
  received(reservation: Reservation, bytes: number, nowMs: number): void {
    this.#fill(nowMs);
    const open = Math.max(0, reservation.reservedBytes - reservation.receivedBytes);
    reservation.receivedBytes += bytes;
    this.#used += bytes;
    this.#outstanding -= Math.min(open, bytes);
    // More than reserved (a longer header, an error page) is paid for afterwards.
    this.#tokens -= Math.max(0, bytes - open);
  }

  /** Bytes that came without having been asked for, when all is closed. */
  charge(bytes: number): void {
    this.#used += bytes;
    this.#tokens -= bytes;
  }

  /** Headers came: learns how long they and the origin take. */
  answered(headerBytes: number, timeToHeadMs: number): void {
    this.#learnHeader(headerBytes);
    const before = this.#timeToFirstByteMs ?? timeToHeadMs;
    this.#timeToFirstByteMs = before + (timeToHeadMs - before) / 8;
  }

  /**
   * The answer is complete, nothing more comes for it: what was reserved too much is free. What was
   * not payload, the framing of chunks and interim answers too, is reserved for the next one.
   */
  complete(reservation: Reservation, tookMs: number, nowMs: number): void {
    this.#release(reservation, nowMs);
    this.#learnHeader(reservation.receivedBytes - reservation.payloadBytes);
    this.#answerMs = Math.max(tookMs, this.#answerMs - this.#answerMs / 16);
  }

  /**
   * The connection is gone before the answer was complete. `exact`: nothing beyond what was read
   * was written for us; else the whole request is charged, and `extraBytes` that we cannot see.
   * Answers what was charged unseen.
   */
  failed(reservation: Reservation, exact: boolean, extraBytes: number, nowMs: number): number {
    const left = Math.max(0, reservation.reservedBytes - reservation.receivedBytes);
    this.#release(reservation, nowMs);
    if (exact) return 0;
    this.#used += left + extraBytes;
    this.#tokens -= extraBytes;
    return left + extraBytes;
  }

  /** Connections that ended without the origin's word, and what of `failed()` was asked for there. */
  lose(connections: number, bytes: number, nowMs: number): void {
    this.#lostConnections += connections;
    this.#lostBytes += bytes;
    this.#fill(nowMs);
  }

  #release(reservation: Reservation, nowMs: number): void {
    this.#fill(nowMs);
    this.#outstanding -= Math.max(0, reservation.reservedBytes - reservation.receivedBytes);
  }

  #learnHeader(bytes: number): void {
    this.#largestHeader = Math.max(this.#largestHeader, bytes);
  }

  #headerBytes(): number {
    if (this.#largestHeader > 0) return this.#largestHeader + HEADER_MARGIN_BYTES;
    return Math.min(FIRST_HEADER_BYTES, Math.floor(this.#slackBytes / 4));
  }

  /** How long an answer of this size is likely to take at worst; a slow one is reset at expiry. */
  #expectedMs(payloadBytes: number): number {
    const latency = this.#timeToFirstByteMs ?? FIRST_TIME_TO_FIRST_BYTE_MS;
    const atRateMs = (payloadBytes / this.#grant.rateBytesPerSecond) * 1000;
    // A third of the life at most: renewals come that often, so one stall does not end the lease.
    return Math.min(2 * Math.max(latency + atRateMs, this.#answerMs), this.#grant.ttlMs / 3);
  }

  get #slackBytes(): number {
    return Math.max(0, this.#grant.slackBytes - this.#lostBytes);
  }

  #effectiveRate(): number {
    return this.#grant.rateBytesPerSecond * (1 - DRIFT);
  }

  #fill(nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.#filledAtMs);
    this.#filledAtMs = Math.max(this.#filledAtMs, nowMs);
    const filled = this.#tokens + (this.#effectiveRate() * elapsedMs) / 1000;
    this.#tokens = Math.min(filled, this.#slackBytes - this.#outstanding);
  }
}

function expiryOf(grant: PacedGrant, requestedAtMs: number): number {
  return requestedAtMs + grant.ttlMs * (1 - DRIFT) - EXPIRY_MARGIN_MS;
}
