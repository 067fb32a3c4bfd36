/**
 * Holders of leases on a virtual clock, under the operator's own lease service, a thousand of them at
 * once: they ask and renew as a relay's lease loop does, and take from the origin what their lease
 * gives, without a byte being moved. What a holder loses by waiting for the first byte, and by the
 * bucket that begins empty, is left out of what it takes.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { LeaseService } from '@sluice/operator/quota/leaseService.ts';
import type { LeaseAnswer, LeaseGrant } from '@sluice/protocol/leaseMessages.ts';

export interface HolderOptions {
  readonly name: string;
  readonly uid: string;
  readonly pieceLengthBytes: number;
  readonly wantRateBytesPerSecond: number;
  readonly wantConnections: number;
  readonly timeToFirstByteMs: number;
}

interface Held {
  grant: LeaseGrant;
  /** When the grant in force was asked for. */
  askedAtMs: number;
  /** Bytes since the lease began, up to `countedMs`. */
  usedBytes: number;
  countedMs: number;
  /** Of the extents, as they were granted last. */
  doneBytes: number;
  isCalled: boolean;
  /** A smaller grant is kept to, and the server does not know. */
  isShrunk: boolean;
  /** So many pieces were unfinished when the server had none to add. */
  futileAt: number | undefined;
}

/** A request's way to the control server and one durable write of its journal, each way. */
const CONTROL_MS = 5;
/** As in protocol/src/client/leaseLoop.ts and leaseRenewal.ts. */
const LOOK_MS = 25;
const CALLED_MS = 50;
const ENOUGH_MS = 300;
/** The first quantum has to be saved up: a bucket begins empty. */
const QUANTUM_MS = 28;
/** Clocks may differ by so much: a holder pulls slower. */
const DRIFT = 0.001;
const EPOCH = 1;
const HEADROOM = 1.01;

export class VirtualHolder {
  /** Taken from the origin. */
  takenBytes = 0;
  readonly #options: HolderOptions;
  readonly #clock: Clock;
  readonly #leases: LeaseService;
  #held: Held | undefined;
  #isAsking = false;
  #askAtMs = 0;
  #sequence = 0;

  constructor(
    options: HolderOptions,
    dependencies: { readonly clock: Clock; readonly leases: LeaseService },
  ) {
    this.#options = options;
    this.#clock = dependencies.clock;
    this.#leases = dependencies.leases;
  }

  start(): void {
    this.#look();
  }

  /** The control server calls. */
  askNow(): void {
    if (this.#held === undefined) this.#askAtMs = 0;
    else this.#held.isCalled = true;
  }

  /** Up to now. */
  count(): number {
    if (this.#held !== undefined) this.#count(this.#held);
    return this.takenBytes;
  }

  #look(): void {
    const now = this.#clock.now();
    if (!this.#isAsking) {
      if (this.#held === undefined) {
        if (now >= this.#askAtMs) void this.#acquire();
      } else {
        this.#count(this.#held);
        if (this.#shouldRenew(this.#held, now)) void this.#renew(this.#held);
      }
    }
    this.#clock.setTimer(LOOK_MS, () => this.#look());
  }

  #shouldRenew(held: Held, now: number): boolean {
    const sinceMs = now - held.askedAtMs;
    if (held.isShrunk || sinceMs >= held.grant.ttlMs / 3) return true;
    if (held.isCalled && sinceMs >= CALLED_MS) return true;
    const unfinished = piecesIn(this.#unfinished(held));
    if (unfinished === held.futileAt) return false;
    const left = this.#grantedBytes(held) - held.doneBytes;
    const leftMs = (left * 1000) / held.grant.rateBytesPerSecond;
    return unfinished * 2 <= piecesIn(held.grant.extents) || leftMs < ENOUGH_MS;
  }

  async #acquire(): Promise<void> {
    const { uid, wantConnections } = this.#options;
    const askedAtMs = this.#clock.now();
    const answer = await this.#answer({
      op: 'acquire',
      uid,
      epoch: EPOCH,
      pullerKey: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
      wantConnections,
    });
    if (answer?.outcome !== 'granted') {
      this.#askAtMs = this.#clock.now() + (answer?.outcome === 'wait' ? answer.retryAfterMs : 0);
      return;
    }
    const countedMs = this.#clock.now() + this.#options.timeToFirstByteMs + QUANTUM_MS;
    this.#held = {
      grant: answer.grant,
      askedAtMs,
      usedBytes: 0,
      countedMs,
      doneBytes: 0,
      isCalled: false,
      isShrunk: false,
      futileAt: undefined,
    };
  }

  async #renew(held: Held): Promise<void> {
    const askedAtMs = this.#clock.now();
    held.isCalled = false;
    held.isShrunk = false;
    const { leaseId, version } = held.grant;
    const unfinished = this.#unfinished(held);
    const usedBytes = Math.ceil(held.usedBytes * HEADROOM);
    const doneBefore = held.doneBytes;
    const answer = await this.#answer({ op: 'renew', leaseId, version, usedBytes, unfinished });
    if (this.#held !== held) return;
    this.#count(held);
    held.askedAtMs = askedAtMs;
    const before = piecesIn(unfinished);
    if (answer?.outcome === 'wait') {
      held.futileAt = before;
      return;
    }
    if (answer?.outcome !== 'granted') {
      this.#held = undefined;
      return;
    }
    const { grant } = answer;
    held.futileAt = piecesIn(grant.extents) <= before ? before : undefined;
    held.isShrunk = grant.version > version;
    // Whole pieces that were done are not among the extents any more.
    held.doneBytes -= Math.floor(doneBefore / this.#pieceBytes) * this.#pieceBytes;
    held.grant = grant;
  }

  async #answer(ask: object): Promise<LeaseAnswer | undefined> {
    const { name, wantRateBytesPerSecond, timeToFirstByteMs } = this.#options;
    this.#isAsking = true;
    this.#sequence += 1;
    const base = { incarnation: name.padEnd(8, '-'), sequence: this.#sequence };
    const want = { wantRateBytesPerSecond, timeToFirstByteMs };
    await this.#pass(CONTROL_MS);
    try {
      const request = { ...base, ...want, ...ask } as Parameters<LeaseService['answer']>[1];
      return await this.#leases.answer({ id: name, kind: 'relay' }, request);
    } catch {
      return undefined;
    } finally {
      await this.#pass(CONTROL_MS);
      this.#isAsking = false;
    }
  }

  #count(held: Held): void {
    const now = this.#clock.now();
    if (now <= held.countedMs) return;
    const rate = held.grant.rateBytesPerSecond * (1 - DRIFT);
    const could = (rate * (now - held.countedMs)) / 1000;
    const left = this.#grantedBytes(held) - held.doneBytes;
    const bytes = Math.min(could, left);
    held.doneBytes += bytes;
    held.usedBytes += bytes;
    held.countedMs = now;
    this.takenBytes += bytes;
  }

  get #pieceBytes(): number {
    return this.#options.pieceLengthBytes;
  }

  #grantedBytes({ grant }: Held): number {
    return piecesIn(grant.extents) * this.#pieceBytes;
  }

  /** Pieces are brought in order. */
  #unfinished({ grant, doneBytes }: Held): LeaseGrant['extents'] {
    let done = Math.floor(doneBytes / this.#pieceBytes);
    return grant.extents.flatMap(({ first, count }) => {
      const skipped = Math.min(done, count);
      done -= skipped;
      return count > skipped ? [{ first: first + skipped, count: count - skipped }] : [];
    });
  }

  #pass(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.setTimer(ms, resolve));
  }
}

function piecesIn(extents: LeaseGrant['extents']): number {
  return extents.reduce((sum, { count }) => sum + count, 0);
}
