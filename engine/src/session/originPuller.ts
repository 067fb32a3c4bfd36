import type { Extent } from '../feed/certificate.ts';
import { LeasePacer, type Permission, type Reservation } from '../pacing/leasePacer.ts';
import type { Timer } from '../ports/clock.ts';
import { HttpSourceError } from '../ports/httpSource.ts';
import {
  aboutFile,
  conditionFor,
  judgeAnswer,
  type OriginFile,
  PullError,
  refusalIn,
} from './originAnswer.ts';
import { OriginConnections } from './originConnections.ts';
import { OriginStream } from './originStream.ts';
import {
  FIRST_BACKOFF_MS,
  MAX_FAILURES,
  type PullDependencies,
  type PullEnd,
  type Puller,
  type PullGrant,
  type PullOptions,
  UNSEEN_BYTES,
  type Unproven,
  unseenOf,
} from './puller.ts';
import { AnswerMeters, type PullMeters } from './pullMeters.ts';
import { type PieceAssembly, PullPlan, type PullRange } from './pullPlan.ts';

/** `requestedAtMs`: when the request for the grant was first sent, on the clock. */
export function createPuller(
  grant: PullGrant,
  requestedAtMs: number,
  options: PullOptions,
  dependencies: PullDependencies,
): Puller {
  const Kind = options.ranges ? OriginPuller : OriginStream;
  return new Kind(grant, requestedAtMs, options, dependencies);
}

/** Bytes that wait for hash and disk at most, though two pieces always may. */
const MAX_FINISHING_BYTES = 64 * 1024 * 1024;
const MAX_MISMATCHES = 2;
/** How often to look again at pieces that somebody else has taken. */
const TAKEN_RETRY_MS = 100;
/**
 * Until the first piece is there nothing else shares the way with it; for so long at most, for the
 * connection that brings its end may have stalled.
 */
const ALONE_MS = 500;
/** Error pages up to this size are read, so that the connection stays; longer ones are cut off. */
const MAX_ERROR_BODY_BYTES = 65_536;

export class OriginPuller implements Puller {
  readonly ended: Promise<PullEnd>;
  readonly #options: PullOptions;
  readonly #dependencies: PullDependencies;
  readonly #pacer: LeasePacer;
  readonly #plan: PullPlan;
  readonly #meters = new AnswerMeters();
  readonly #abort = new AbortController();
  readonly #connections: OriginConnections;
  readonly #running = new Set<Promise<void>>();
  readonly #storing = new Set<Promise<void>>();
  readonly #mismatches = new Map<number, number>();
  /** When the last failure was counted: what was under way then fails for the same reason. */
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #expiryTimer: Timer | undefined;
  /** More than was asked for, as this origin did once: it may be on its way in every connection. */
  #unaskedBytes = 0;
  #failures = 0;
  #lastProblem: string | undefined;
  #retryAtMs = 0;
  #firstPiece: number | undefined;
  #aloneUntilMs: number | undefined;
  #end: (end: PullEnd) => void = () => {};
  #over = false;

  constructor(
    grant: PullGrant,
    requestedAtMs: number,
    options: PullOptions,
    dependencies: PullDependencies,
  ) {
    this.#options = options;
    this.#dependencies = dependencies;
    this.#pacer = new LeasePacer(grant, requestedAtMs, dependencies.clock.now());
    this.#plan = new PullPlan(dependencies.layout, dependencies.target);
    this.#plan.setExtents(grant.extents);
    this.#connections = new OriginConnections({
      http: dependencies.http,
      onLost: (count) => this.#pacer.lose(count, 0, dependencies.clock.now()),
      onClosed: (unaskedBytes) => {
        this.#pacer.charge(unaskedBytes);
        this.#meters.unasked(unaskedBytes);
        this.#pump();
      },
    });
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  start(): void {
    this.#armExpiry();
    this.#pump();
  }

  adopt(grant: PullGrant, requestedAtMs: number): void {
    if (this.#over) return;
    this.#pacer.adopt(grant, requestedAtMs, this.#dependencies.clock.now());
    this.#plan.setExtents(grant.extents);
    this.#connections.trim(this.#pacer.connections);
    this.#armExpiry();
    this.#pump();
  }

  fitsGrant(): boolean {
    return this.#pacer.fits && this.#connections.open <= this.#pacer.connections;
  }

  unproven(): Unproven {
    const { connections, bytes } = this.#pacer.lost;
    return { connections, slackBytes: Math.ceil(bytes) };
  }

  usedBytes(): number {
    return this.#pacer.usedBytes;
  }

  meters(): PullMeters {
    const { socketBytes, answeredBytes } = this.#meters;
    return { socketBytes, answeredBytes, pieceBytes: this.#plan.verifiedBytes };
  }

  unfinished(): Extent[] {
    return this.#plan.unfinished();
  }

  timeToFirstByteMs(): number | undefined {
    const measured = this.#pacer.timeToFirstByteMs;
    return measured === undefined ? undefined : Math.ceil(measured);
  }

  async close(): Promise<void> {
    this.#finish({ kind: 'stopped', reason: 'closed' });
    await Promise.all(this.#running);
    await Promise.all([this.#connections.closed(), ...this.#storing]);
  }

  /** Starts every request that may start now, and sees to being called again when more may. */
  #pump(): void {
    if (this.#over) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#connections.retireLost();
    for (;;) {
      const now = this.#dependencies.clock.now();
      // Timers stand still while a machine sleeps: the one of the end may come too late.
      if (now >= this.#pacer.expiresAtMs) {
        this.#finish({ kind: 'stopped', reason: 'expiry' });
        return;
      }
      const busy = this.#running.size;
      if (this.#pacer.connections < 1) {
        if (busy === 0 && this.#plan.finishing === 0) this.#finishLost();
        return;
      }
      // While the origin fails, one request at a time finds out whether it still does.
      if (busy >= (this.#failures > 0 ? 1 : this.#pacer.connections)) return;
      // What is closing counts until it is closed.
      if (busy === this.#connections.size && this.#connections.open >= this.#pacer.connections)
        return;
      if (now < this.#retryAtMs) {
        this.#wakeIn(this.#retryAtMs - now);
        return;
      }
      const range = this.#mayFinishMore() ? this.#next(busy, now) : undefined;
      if (range === undefined) {
        this.#idle(busy);
        return;
      }
      const permission = this.#pacer.permit(range.end - range.start, now);
      if (permission.kind !== 'request') {
        this.#plan.putBack(range);
        this.#hold(permission, busy);
        return;
      }
      this.#launch(this.#shortened(range, permission.payloadBytes));
    }
  }

  #next(busy: number, now: number): PullRange | undefined {
    const range = this.#plan.next(this.#pacer.quantumBytes());
    const [part] = range?.parts ?? [];
    const isAlone = this.#options.isFirst === true && !this.#plan.hasPiece;
    if (range === undefined || part === undefined || !isAlone) return range;
    this.#firstPiece ??= part.piece;
    if (part.piece === this.#firstPiece) return this.#shortened(range, part.length);
    this.#aloneUntilMs ??= now + ALONE_MS;
    if (busy === 0 || now >= this.#aloneUntilMs) return range;
    this.#plan.putBack(range);
    this.#wakeIn(this.#aloneUntilMs - now);
    return undefined;
  }

  /** Nothing may be asked for now; what is under way goes on. */
  #hold(permission: Exclude<Permission, { kind: 'request' }>, busy: number): void {
    if (permission.kind === 'wait') {
      this.#wakeIn(permission.waitMs);
    } else if (permission.reason === 'headers') {
      const message = "the headers of the origin's answers are too long for so low a rate";
      this.#finish({ kind: 'failed', error: new PullError('SourceRefused', message) });
    } else if (permission.reason === 'lost') {
      if (busy === 0) this.#finishLost();
    } else if (permission.reason === 'maxBytes' && busy === 0 && this.#plan.finishing === 0) {
      this.#finish({ kind: 'stopped', reason: 'maxBytes' });
    }
    // Near expiry the grant is renewed, or the timer ends the pull.
  }

  #shortened(range: PullRange, bytes: number): PullRange {
    if (range.end - range.start <= bytes) return range;
    this.#plan.putBack(range);
    return this.#plan.next(bytes) ?? range;
  }

  /** There is nothing to ask for now. */
  #idle(busy: number): void {
    if (busy > 0 || this.#plan.finishing > 0) return;
    if (this.#plan.done) this.#finish({ kind: 'completed' });
    else this.#wakeIn(TAKEN_RETRY_MS);
  }

  #mayFinishMore(): boolean {
    const { finishing } = this.#plan;
    return finishing < 2 || finishing * this.#options.pieceLengthBytes < MAX_FINISHING_BYTES;
  }

  #launch(range: PullRange): void {
    const running = this.#pull(range).finally(() => {
      this.#running.delete(running);
      this.#pump();
    });
    this.#running.add(running);
  }

  /** One request; never rejects. */
  async #pull(range: PullRange): Promise<void> {
    const { clock } = this.#dependencies;
    const file = this.#options.files[range.fileIndex] as OriginFile;
    const reservation = this.#pacer.start(range.end - range.start);
    const sentAtMs = clock.now();
    const url = new URL(file.url);
    const slot = this.#connections.take(url);
    const meter = this.#meters.begin();
    let received = 0;
    let unseenBytes = 0;
    let retry: { afterMs: number; message: string } | undefined;
    try {
      const connection = await this.#connections.turn(slot, url);
      const { head, wireBytes } = await connection.request(
        {
          headers: { ...this.#options.headers, ...conditionFor(file.validator) },
          url,
          range: { start: range.start, end: range.end },
          onHead: (head) => {
            meter.head(head);
            this.#pacer.answered(head.headerBytes, head.timeToHeadMs);
            this.#pacer.received(reservation, head.headerBytes, clock.now());
            const verdict = judgeAnswer(head, file, range);
            if (verdict.kind === 'error') {
              unseenBytes = unseenOf(head);
              this.#unaskedBytes = Math.max(this.#unaskedBytes, unseenBytes);
              throw verdict.error;
            }
            if (verdict.kind === 'retry') {
              retry = verdict;
              unseenBytes = unseenOf(head);
              if (unseenBytes > MAX_ERROR_BODY_BYTES) throw new Error(verdict.message);
            }
          },
          onChunk: (chunk) => {
            meter.body(chunk.byteLength);
            this.#pacer.received(reservation, chunk.byteLength, clock.now());
            if (retry !== undefined) return;
            if (received + chunk.byteLength > range.end - range.start) {
              unseenBytes = UNSEEN_BYTES;
              this.#unaskedBytes = UNSEEN_BYTES;
              throw new PullError('BadContentRange', 'the origin sends more than the range has');
            }
            for (const piece of this.#plan.write(range, received, chunk)) this.#store(piece);
            received += chunk.byteLength;
          },
        },
        this.#abort.signal,
      );
      const now = clock.now();
      meter.over(wireBytes, true);
      this.#pacer.received(reservation, Math.max(0, wireBytes - reservation.receivedBytes), now);
      this.#pacer.complete(reservation, now - sentAtMs, now);
      slot.busy = false;
      if (retry !== undefined) throw new RetryLater(retry.afterMs, retry.message, head.status);
      if (received < range.end - range.start) throw new RetryLater(0, 'the answer was too short');
      this.#failures = 0;
    } catch (error) {
      this.#plan.putBack(range, received);
      if (error instanceof HttpSourceError) {
        meter.over(error.wireBytes, false);
        // What does not speak HTTP may have said anything by now.
        if (error.code === 'MalformedAnswer') this.#unaskedBytes = UNSEEN_BYTES;
        const most = Math.max(unseenBytes, this.#unaskedBytes);
        const unseen = this.#settleFailed(reservation, error, most);
        slot.busy = false;
        if (slot.connection.unprovenEnds > 0) this.#pacer.lose(0, unseen, clock.now());
        this.#connections.retireLost();
        // Servers end connections that were idle or have had their share of requests.
        if (error.stale) return;
      }
      const broughtMost = 2 * received >= range.end - range.start;
      this.#judgeFailure(error, retry, { file, sentAtMs, broughtMost });
    } finally {
      this.#connections.trim(this.#pacer.connections);
    }
  }

  /** Answers what was charged unseen. */
  #settleFailed(reservation: Reservation, error: HttpSourceError, unseenBytes: number): number {
    const now = this.#dependencies.clock.now();
    const uncounted = Math.max(0, error.wireBytes - reservation.receivedBytes);
    this.#pacer.received(reservation, uncounted, now);
    return this.#pacer.failed(reservation, error.exact, unseenBytes, now);
  }

  #judgeFailure(
    error: unknown,
    retry: { afterMs: number; message: string } | undefined,
    { file, sentAtMs, broughtMost }: { file: OriginFile; sentAtMs: number; broughtMost: boolean },
  ): void {
    if (this.#over) return;
    const about = aboutFile(file, this.#options.files);
    const refusal = refusalIn(error, about);
    if (refusal !== undefined) {
      this.#finish({ kind: 'failed', error: refusal });
      return;
    }
    const now = this.#dependencies.clock.now();
    const why = retry?.message ?? (error instanceof Error ? error.message : String(error));
    const message = `${about}${why}`;
    this.#lastProblem = message;
    if (retry !== undefined) this.#retryAtMs = Math.max(this.#retryAtMs, now + retry.afterMs);
    if (sentAtMs < this.#failedAtMs) return;
    this.#failedAtMs = now;
    // An origin that ends answers early, but brings more than it costs, is used as it is.
    this.#failures = broughtMost ? 1 : this.#failures + 1;
    if (this.#failures >= MAX_FAILURES || this.#pacer.connections < 1) {
      const status = error instanceof RetryLater ? error.httpStatus : undefined;
      const failed = new PullError('SourceUnavailable', message, status, error);
      this.#finish({ kind: 'failed', error: failed });
      return;
    }
    const backoffMs = FIRST_BACKOFF_MS * 2 ** (this.#failures - 1);
    this.#retryAtMs = Math.max(this.#retryAtMs, now + backoffMs);
  }

  #store(assembly: PieceAssembly): void {
    const { piece } = assembly;
    const storing = assembly.finish().then(
      (outcome) => {
        this.#plan.finished(piece, outcome === 'verified');
        if (outcome === 'mismatch') this.#countMismatch(piece);
        this.#pump();
      },
      (cause) => {
        this.#plan.finished(piece, false);
        const error = new PullError(
          'StoreFailed',
          `piece ${piece} is not stored`,
          undefined,
          cause,
        );
        this.#finish({ kind: 'failed', error });
      },
    );
    this.#storing.add(storing);
    storing.finally(() => this.#storing.delete(storing));
  }

  #countMismatch(piece: number): void {
    const count = (this.#mismatches.get(piece) ?? 0) + 1;
    this.#mismatches.set(piece, count);
    if (count < MAX_MISMATCHES) return;
    const { fileIndex } = this.#dependencies.layout.locate(piece);
    const { files } = this.#options;
    const about = aboutFile(files[fileIndex] as OriginFile, files);
    const message = `${about}the origin gives other bytes of piece ${piece} than another puller got`;
    this.#finish({ kind: 'failed', error: new PullError('SourceInconsistent', message) });
  }

  #armExpiry(): void {
    this.#expiryTimer?.cancel();
    const delayMs = Math.max(0, this.#pacer.expiresAtMs - this.#dependencies.clock.now());
    this.#expiryTimer = this.#dependencies.clock.setTimer(delayMs, () => {
      this.#finish({ kind: 'stopped', reason: 'expiry' });
    });
  }

  #wakeIn(delayMs: number): void {
    this.#timer = this.#dependencies.clock.setTimer(Math.max(1, delayMs), () => this.#pump());
  }

  #finishLost(): void {
    const message =
      'connections have ended without a word of the origin, and may be open there still: nothing more is asked for under this lease';
    const last = this.#lastProblem === undefined ? '' : `; at last: ${this.#lastProblem}`;
    this.#finish({ kind: 'failed', error: new PullError('SourceUnavailable', message + last) });
  }

  #finish(end: PullEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#expiryTimer?.cancel();
    this.#abort.abort(new Error(`the pull is over: ${end.kind}`));
    this.#plan.abort();
    this.#connections.closeAll();
    this.#end(end);
  }
}

class RetryLater extends Error {
  readonly afterMs: number;
  readonly httpStatus: number | undefined;

  constructor(afterMs: number, message: string, httpStatus?: number) {
    super(message);
    this.name = 'RetryLater';
    this.afterMs = afterMs;
    this.httpStatus = httpStatus;
  }
}
