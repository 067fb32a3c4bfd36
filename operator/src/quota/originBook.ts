/**
 * One host, or a region of it, at its leader: the journal, the ledger as it will be when all that
 * is under way is durable, and the time that runs for each lease. Time is this process's own clock;
 * what follows from it is an entry like any other.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { SnapshotEvery } from './compaction.ts';
import { CLOCK_DRIFT, closedAfterMs, expiryMarginMs, secondMs } from './drift.ts';
import type { Entry, Unproven } from './entries.ts';
import { Journal, type JournalStore } from './journal.ts';
import { emptyLedger, type LeaseRecord, type Ledger, periodStartAt, usageOf } from './ledger.ts';
import type { Limits } from './limits.ts';
import { isRunningShort, type JournalMark, nextMark } from './marks.ts';
import { type RecentPeak, RecentUse } from './recentUse.ts';

/** Counted by the holder from when it first sent its request. */
export const LEASE_TTL_MS = 10_000;
/** The longest that a lease may be in force after its last grant, among clocks as good as that. */
export const LEASE_LIFE_MS = LEASE_TTL_MS + expiryMarginMs(LEASE_TTL_MS, CLOCK_DRIFT);
/** Holder of the leases for the operator's own requests (probes.ts). */
export const OPERATOR = 'operator';
/** After the kubelet has reported a container's end: its sockets are closed by then. */
const ENDED_MS = 1_000;

export interface OriginBookOptions {
  /** Host and port, for a region with its prefix (coverage.ts); names the journal. */
  readonly host: string;
  readonly limits: Limits;
  readonly term: number;
  readonly nonce: string;
  /** Of clocks, at most; absent: what holders take for granted. */
  readonly clockDrift?: number | undefined;
  /** Absent: as compaction.ts says. */
  readonly snapshotEvery?: SnapshotEvery | undefined;
}

export interface OriginBookDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch: periods of traffic are of the calendar. */
  readonly wallClock: () => number;
  readonly onLost: (error: Error) => void;
  readonly onRetry: (error: unknown) => void;
  /** Resolves when it is certain that nobody led later when this was called. */
  readonly confirm: () => Promise<void>;
  /** Its leases are known. Called in the turn in which grants may begin, and not a moment later. */
  readonly onOpen: (book: OriginBook) => void;
  /** What surely came under a lease, by the reports of its holder. */
  readonly provenBytes: (leaseId: string) => number;
  /** A lease has expired: nothing is pulled under it any more. */
  readonly onExpired: (lease: LeaseRecord) => void;
  /** A lease is over; `usedBytes` undefined: nobody said what it took. */
  readonly onGone: (lease: LeaseRecord, usedBytes: number | undefined) => void;
  readonly onCommitted: (ms: number) => void;
  /** Something may be granted that could not be before. */
  readonly onFreed: (book: OriginBook) => void;
  /** The mark in the Origin's status is to be moved soon: what is beyond it waits. */
  readonly onShort: (book: OriginBook) => void;
}

export class OriginBook {
  readonly host: string;
  limits: Limits;
  readonly #dependencies: OriginBookDependencies;
  readonly #journal: Journal;
  readonly #timers = new Map<string, Timer>();
  readonly #clockDrift: number;
  readonly #recent: RecentUse;
  #coolTimer: Timer | undefined;
  #open = false;
  #closed = false;
  #isMarked = false;

  constructor(options: OriginBookOptions, dependencies: OriginBookDependencies) {
    const { host, term, nonce, clockDrift = CLOCK_DRIFT, snapshotEvery } = options;
    this.#clockDrift = clockDrift;
    this.#recent = new RecentUse(secondMs(clockDrift));
    this.host = host;
    this.limits = options.limits;
    this.#dependencies = dependencies;
    this.#journal = new Journal(
      { origin: host, term, nonce, snapshotEvery },
      { ...dependencies, onUnmarked: () => dependencies.onShort(this) },
    );
  }

  /** Its fence is durable: grants may begin. */
  get isOpen(): boolean {
    return this.#open && !this.#closed;
  }

  /**
   * With all that is under way to the journal: what decisions are made from. Empty before grants may
   * begin: of a lease that was read too soon nobody knows yet who has which pieces.
   */
  get ledger(): Ledger {
    return this.#open ? this.#journal.pending : emptyLedger;
  }

  /** The most that was leased within the last second. */
  get recent(): RecentPeak {
    return this.#recent.peak(this.#dependencies.clock.now());
  }

  /** By the wall clock: until then nothing is granted, for the database has lost what it had. */
  get behindUntilMs(): number | undefined {
    return this.#journal.behindUntilMs;
  }

  /** An Origin covers it: nothing becomes durable beyond the mark in the status. */
  set isMarked(isMarked: boolean) {
    this.#isMarked = isMarked;
    this.#journal.isMarked = isMarked;
  }

  /** What the Origin's status is to say now; undefined: nothing is known yet. */
  nextMark(): JournalMark | undefined {
    const { mark, position, sequence } = this.#journal;
    if (!this.#open) return mark;
    return nextMark(this.host, position, sequence, this.#markLimits(), mark);
  }

  /** It says so now. */
  marked(mark: JournalMark): void {
    if (this.#open) this.#journal.marked(mark);
  }

  /** Every lease that is open gets a full life from now: nobody knows how old it is. */
  async open(mark: JournalMark | undefined, signal: AbortSignal): Promise<void> {
    await this.#journal.open(signal, mark && { mark, lifetimeMs: this.#lifeMs() });
    await this.#dependencies.confirm();
    if (this.#closed) return;
    this.#open = true;
    const now = this.#dependencies.clock.now();
    // What was given back under the leader before may have been so a moment ago.
    if (this.#journal.sequence > 1) this.#recent.unknown(now);
    this.#recent.note(usageOf(this.ledger), now);
    this.#cool();
    for (const lease of this.ledger.leases.values()) {
      if (lease.expired) this.#closeLater(lease.leaseId, this.#lostMs());
      else this.#expireLater(lease.leaseId);
    }
    this.#dependencies.onOpen(this);
  }

  close(): void {
    this.#closed = true;
    this.#journal.close();
    this.#coolTimer?.cancel();
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
  }

  /** Counts at once, resolves when durable. */
  commit(...entries: readonly Entry[]): Promise<void> {
    this.rollPeriod();
    return this.#commit(entries);
  }

  /** Resolves when the ledger is durable as it is now. */
  flushed(): Promise<void> {
    return this.#journal.flushed();
  }

  grant(entry: Omit<Extract<Entry, { kind: 'grant' }>, 'kind'>): Promise<void> {
    return this.commit({ kind: 'grant', ...entry });
  }

  /** What is unproven counts until the origin must have closed it. */
  settle(leaseId: string, usedBytes: number, unproven?: Unproven): Promise<void> {
    const atMs = this.#dependencies.wallClock();
    const left = unproven === undefined ? {} : { unproven };
    return this.commit({ kind: 'settle', leaseId, usedBytes, atMs, ...left });
  }

  /** Its sockets are closed, but nobody says what came over them. */
  closeLease(leaseId: string): Promise<void> {
    const { provenBytes, wallClock } = this.#dependencies;
    const usedBytes = provenBytes(leaseId);
    const known = usedBytes > 0 ? { usedBytes } : {};
    return this.commit({ kind: 'close', leaseId, atMs: wallClock(), ...known });
  }

  /** Begins a new period of traffic when it is time, or when it has another length now. */
  rollPeriod(): void {
    const { traffic } = this.limits;
    if (traffic === undefined || !this.isOpen) return;
    const { periodMs } = traffic;
    const before = this.ledger;
    const fromMs = periodStartAt(this.#dependencies.wallClock(), periodMs);
    const startMs = Math.max(fromMs, before.periodStartMs);
    if (periodMs === before.periodMs && startMs === before.periodStartMs) return;
    // Of a journal from before lengths were kept, the one that runs is taken to be as it was.
    const isChanged = before.periodMs > 0 && before.periodMs !== periodMs;
    const begun = isChanged ? { fromMs } : {};
    this.#commit([{ kind: 'period', startMs, periodMs, ...begun }]).catch(() => {});
  }

  /**
   * The kubelet has reported the end of this holder's container. Of what the holder has closed
   * before, without the origin's word, that proves nothing. Nothing more is asked for, so rates
   * return at once; what was asked for may come until its sockets are closed.
   */
  holderEnded(holder: string): void {
    for (const lease of this.ledger.leases.values()) {
      if (lease.holder !== holder || lease.settled) continue;
      if (lease.expired) this.#closeLater(lease.leaseId, ENDED_MS);
      else this.#expire(lease, ENDED_MS);
    }
  }

  #commit(entries: readonly Entry[]): Promise<void> {
    const gone: [LeaseRecord, number | undefined][] = [];
    for (const entry of entries) {
      if (entry.kind === 'grant' || entry.kind === 'renew') this.#expireLater(entry.leaseId);
      if (entry.kind !== 'settle' && entry.kind !== 'close') continue;
      this.#cancel(entry.leaseId);
      const lease = this.ledger.leases.get(entry.leaseId);
      if (lease !== undefined && !lease.settled) {
        gone.push([lease, entry.kind === 'settle' ? entry.usedBytes : undefined]);
      }
      if (entry.kind === 'settle' && entry.unproven !== undefined) {
        this.#closeLater(entry.leaseId, this.#lostMs());
      }
    }
    const { clock, onCommitted, onGone } = this.#dependencies;
    const startedAtMs = clock.now();
    const durable = this.#journal.append(entries);
    const isProbed = this.#noteProbes(entries, startedAtMs);
    if (this.#recent.note(usageOf(this.ledger), startedAtMs) || isProbed) this.#cool();
    durable.then(
      () => onCommitted(clock.now() - startedAtMs),
      () => {},
    );
    this.#askForMark();
    for (const each of gone) onGone(...each);
    return durable;
  }

  /** Whether a request of our own is over. */
  #noteProbes(entries: readonly Entry[], nowMs: number): boolean {
    let isOver = false;
    for (const entry of entries) {
      if (entry.kind === 'grant' && entry.holder === OPERATOR) {
        this.#recent.probes(entry.leaseId, entry.terms.slackBytes);
      } else if (entry.kind === 'settle' && entry.unproven !== undefined) {
        this.#recent.forgetProbe(entry.leaseId);
      } else if (entry.kind === 'settle' || entry.kind === 'close') {
        const { usedBytes = Number.POSITIVE_INFINITY } = entry.kind === 'settle' ? entry : {};
        if (this.#recent.probed(entry.leaseId, usedBytes, nowMs)) isOver = true;
      }
    }
    return isOver;
  }

  /** A second later what came back may be anybody's; and what came back meanwhile, after that. */
  #cool(): void {
    const { clock, onFreed } = this.#dependencies;
    const now = clock.now();
    const fallsAtMs = this.#recent.fallsAtMs(now);
    if (this.#coolTimer !== undefined || fallsAtMs === Number.POSITIVE_INFINITY) return;
    this.#coolTimer = clock.setTimer(Math.max(0, fallsAtMs - now) + 1, () => {
      this.#coolTimer = undefined;
      this.#cool();
      onFreed(this);
    });
  }

  #askForMark(): void {
    if (!this.#isMarked) return;
    const { position, mark } = this.#journal;
    if (isRunningShort(position, mark, this.#markLimits())) this.#dependencies.onShort(this);
  }

  #markLimits() {
    const { bandwidthBytesPerSecond, traffic } = this.limits;
    return { bandwidthBytesPerSecond, traffic };
  }

  #lifeMs(): number {
    return LEASE_TTL_MS + expiryMarginMs(LEASE_TTL_MS, this.#clockDrift);
  }

  #expireLater(leaseId: string): void {
    this.#later(leaseId, this.#lifeMs(), () => {
      const lease = this.ledger.leases.get(leaseId);
      if (lease !== undefined) this.#expire(lease, this.#lostMs());
    });
  }

  /** Its rate returns, and its pieces; the rest when its sockets are surely closed. */
  #expire(lease: LeaseRecord, closedAfterMs: number): void {
    const { onExpired, onFreed } = this.#dependencies;
    this.commit({ kind: 'expire', leaseId: lease.leaseId }).catch(() => {});
    this.#closeLater(lease.leaseId, closedAfterMs);
    onExpired(lease);
    onFreed(this);
  }

  /** Then the origin has closed what nobody else closes. */
  #lostMs(): number {
    return closedAfterMs(this.limits.closeAfterMs, this.#clockDrift);
  }

  #closeLater(leaseId: string, delayMs: number): void {
    this.#later(leaseId, delayMs, () => {
      this.closeLease(leaseId).catch(() => {});
      this.#dependencies.onFreed(this);
    });
  }

  #later(leaseId: string, delayMs: number, callback: () => void): void {
    this.#cancel(leaseId);
    const { clock } = this.#dependencies;
    const timer = clock.setTimer(delayMs, () => {
      this.#timers.delete(leaseId);
      callback();
    });
    this.#timers.set(leaseId, timer);
  }

  #cancel(leaseId: string): void {
    this.#timers.get(leaseId)?.cancel();
    this.#timers.delete(leaseId);
  }
}
