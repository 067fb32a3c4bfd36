/**
 * Who may take what from origins: distributions, reports and the requests of holders come in here.
 * Which pieces are whose is in pullRegistry.ts, what a request is answered in leaseRequests.ts, what
 * is granted of each host in originBooks.ts.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { OriginPolicy, OriginUsage, PullTrouble } from '../controllers/dataSide.ts';
import { Answers } from './answers.ts';
import type { JournalStore } from './journal.ts';
import type { LeaseObserver } from './leaseEvents.ts';
import { LeaseRequests } from './leaseRequests.ts';
import {
  type ChargeRequest,
  type LeasedDistribution,
  LeaseError,
  type LeaseHolder,
  type LeaseUse,
  type SourceFailure,
} from './leases.ts';
import { type LeaseRecord, maxBytesOf } from './ledger.ts';
import type { JournalMark, OriginJournals } from './marks.ts';
import { MeterWatch } from './meterWatch.ts';
import type { OriginBook } from './originBook.ts';
import { isOver, type LoadMarks, OriginBooks, type OriginBooksOptions } from './originBooks.ts';
import { OriginReport } from './originReport.ts';
import { Probes } from './probes.ts';
import { PullerCalls } from './pullerCalls.ts';
import { PullRegistry } from './pullRegistry.ts';
import { ReportedUse } from './reportedUse.ts';
import { Sharing } from './sharing.ts';

export interface LeaseServiceDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  readonly random: Random;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  /** Another replica leads: this one must stop to. */
  readonly onLost: (error: Error) => void;
  /** The journal of one host has a gap: nothing is granted there, and a person has to look. */
  readonly onBroken: (error: Error) => void;
  readonly onRetry: (error: unknown) => void;
  readonly observe?: LeaseObserver;
  /** Whether a relay runs that is not connected: what it has nobody knows. */
  readonly isRelayAway?: () => boolean;
}

export class LeaseService {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #books: OriginBooks;
  readonly #probes: Probes;
  readonly #answers = new Answers();
  readonly #pulls: PullRegistry;
  readonly #used = new ReportedUse();
  readonly #meters: MeterWatch;
  /** Holders whose end was heard while journals were still read: nobody says it again. */
  readonly #endedEarly = new Set<string>();
  readonly #sharing: Sharing;
  readonly #report: OriginReport;
  readonly #requests: LeaseRequests;
  readonly #observe: LeaseObserver;
  readonly #calls: PullerCalls;
  #nonce = '';
  #serial = 0;
  #ask: (holder: string, uid: string, epoch: number) => void = () => {};
  #lapsed: (holder: string) => void = () => {};
  #short: (originName: string) => void = () => {};

  constructor(options: OriginBooksOptions, dependencies: LeaseServiceDependencies) {
    const { clock, random, wallClock, observe = () => {} } = dependencies;
    const { isRelayAway = () => false } = dependencies;
    this.#clock = clock;
    this.#random = random;
    this.#observe = observe;
    this.#meters = new MeterWatch(clock);
    this.#books = new OriginBooks(options, {
      ...dependencies,
      onOpen: (book) => this.#opened(book),
      provenBytes: (leaseId) => this.#used.provenBy(leaseId),
      onExpired: (lease) => {
        this.#pulls.release(lease);
        this.#lapsed(lease.holder);
      },
      onGone: (lease, usedBytes) => this.#gone(lease, usedBytes),
      onCommitted: (ms) => observe({ kind: 'committed', ms }),
      onFreed: (book) => this.#freed(book),
      onLimits: (book) => this.#limitsChanged(book),
      onShort: (originName) => this.#short(originName),
    });
    const newLeaseId = () => this.#newLeaseId();
    this.#pulls = new PullRegistry({
      clock,
      books: this.#books,
      wake: (uid) => this.#sharing.reconsider(uid),
      isRelayAway,
    });
    this.#probes = new Probes({ books: this.#books, clock, newLeaseId, observe });
    this.#sharing = new Sharing({
      clock,
      probes: this.#probes,
      groupOf: (uid) => this.#pulls.groupOf(uid),
      ask: ({ holder, uid, epoch }) => this.#ask(holder, uid, epoch),
    });
    this.#calls = new PullerCalls({
      clock,
      uneven: (group) => this.#sharing.uneven(group),
      ask: (holder, uid, epoch) => this.#ask(holder, uid, epoch),
    });
    this.#report = new OriginReport({
      books: this.#books,
      sharing: this.#sharing,
      used: this.#used,
      meters: this.#meters,
      wallClock,
    });
    this.#requests = new LeaseRequests({
      clock,
      random,
      books: this.#books,
      pulls: this.#pulls,
      sharing: this.#sharing,
      used: this.#used,
      meters: this.#meters,
      report: this.#report,
      observe,
      newLeaseId,
      changed: (book) => this.#changed(book),
    });
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.#books.setOrigins(policies);
    this.#pulls.prepare();
    this.#sharing.reconsider();
  }

  setDistribution(distribution: LeasedDistribution): void {
    this.#pulls.set(distribution);
  }

  removeDistribution(uid: string): void {
    this.#pulls.remove(uid);
    this.#sharing.remove(uid);
  }

  /** What a relay holds by its report, and its peers; undefined when that process is gone. */
  setHeld(
    uid: string,
    epoch: number,
    holder: string,
    bitfield: Uint8Array | undefined,
    spread?: Uint8Array,
  ): void {
    this.#pulls.setHeld(uid, epoch, holder, bitfield, spread);
  }

  /**
   * Every journal is fenced before its first grant. With `loadMarks` none goes beyond the mark in its
   * Origin's status, which whoever is told by onShort() moves.
   */
  lead(term: number, loadMarks?: LoadMarks): void {
    this.stepDown();
    this.#nonce = this.#random.bytes(12).toString('hex');
    this.#books.lead(term, this.#nonce, loadMarks);
    this.#pulls.prepare();
  }

  /** Grants nothing more, at once. */
  stepDown(): void {
    this.#books.stepDown();
    this.#endedEarly.clear();
    this.#used.clear();
    this.#meters.clear();
    this.#report.clear();
    this.#requests.clear();
    this.#sharing.clear();
    this.#calls.clear();
    this.#answers.clear();
    this.#probes.clear();
    this.#pulls.reset();
  }

  /** The same request, sent again, gets the same answer. */
  answer(holder: LeaseHolder, request: LeaseRequest): Promise<LeaseAnswer> {
    if (!this.#books.isLeading) {
      return Promise.reject(new LeaseError('NotLeading', 'this replica does not lead'));
    }
    return this.#answers.once(holder.id, request, this.#clock.now(), () =>
      this.#requests.answer(holder, request),
    );
  }

  /**
   * For a request of the operator itself: one connection and `maxBytes` are leased, `use` runs,
   * what it took is settled. Waits while the limits leave no room.
   */
  charge<T>(request: ChargeRequest, signal: AbortSignal, use: LeaseUse<T>): Promise<T> {
    return this.#probes.charge(request, signal, use);
  }

  /** The kubelet has reported the end of its container: its sockets are closed. */
  holderEnded(holder: string): void {
    this.#sharing.forget(holder);
    if (this.#books.isReading) this.#endedEarly.add(holder);
    for (const book of this.#books.all()) book.holderEnded(holder);
  }

  onAsk(listener: (holder: string, uid: string, epoch: number) => void): void {
    this.#ask = listener;
  }

  /** Is told whose lease has run out without a word. */
  onLapsed(listener: (holder: string) => void): void {
    this.#lapsed = listener;
  }

  usage(originName: string): OriginUsage | undefined {
    return this.#report.usage(originName);
  }

  /** Those whose limits are in force; none where another replica leads. */
  originNames(): string[] {
    return this.#books.isLeading ? this.#books.originNames() : [];
  }

  /** Who waits for a limit, by purpose. */
  waiting(): Readonly<Record<'pull' | 'topUp', number>> {
    return this.#sharing.waiting();
  }

  /** What the Origin's status is to say of its journals; undefined: as it says now. */
  journalsOf(originName: string): OriginJournals | undefined {
    return this.#books.journalsOf(originName);
  }

  /** It says so now: what was granted within these marks is written. */
  marked(marks: readonly JournalMark[]): void {
    this.#books.marked(marks);
  }

  /** Is told when the marks of an Origin are to be moved now. */
  onShort(listener: (originName: string) => void): void {
    this.#short = listener;
  }

  /** What was taken for this distribution, all epochs, as far as its holders have said. */
  originBytes(uid: string): number {
    return this.#used.ofDistribution(uid, this.#books.all());
  }

  /** Why the last puller of this epoch gave up; undefined when one has had bytes since. */
  failureOf(uid: string, epoch: number): SourceFailure | undefined {
    return this.#pulls.of({ uid, epoch })?.standings.failureOf(undefined);
  }

  /** The same of a mirror. */
  mirrorFailureOf(uid: string, epoch: number, mirror: string): SourceFailure | undefined {
    return this.#pulls.of({ uid, epoch })?.standings.failureOf(mirror);
  }

  /** URLs of mirrors that bytes of this epoch may have come from. */
  suspectMirrors(uid: string, epoch: number): readonly string[] {
    return this.#pulls.suspectMirrors(uid, epoch);
  }

  /** Why nothing of this epoch is pulled at the moment, when that is the origin's doing. */
  troubleOf(uid: string, epoch: number): PullTrouble | undefined {
    return this.#pulls.troubleOf(uid, epoch);
  }

  #opened(book: OriginBook): void {
    this.#pulls.restoreFrom(book);
    for (const holder of this.#endedEarly) book.holderEnded(holder);
    if (!this.#books.isReading) this.#endedEarly.clear();
    this.#sharing.wake();
  }

  #gone(lease: LeaseRecord, usedBytes: number | undefined): void {
    const chargedBytes = maxBytesOf(lease);
    if (usedBytes === undefined) {
      const unprovenBytes = Math.max(0, chargedBytes - this.#used.of(lease.leaseId));
      this.#observe({ kind: 'closed', unprovenBytes });
    } else {
      this.#observe({ kind: 'settled', unusedBytes: Math.max(0, chargedBytes - usedBytes) });
    }
    this.#pulls.release(lease);
    this.#used.forget(lease.leaseId);
    this.#requests.forget(lease.leaseId);
    this.#sharing.wake();
  }

  /** A holder that was lost keeps nothing from others any more. */
  #freed(book: OriginBook): void {
    this.#sharing.wake();
    this.#changed(book);
  }

  /** Those who pull under the same limits may have another share now. */
  #changed(book: OriginBook): void {
    this.#calls.soon(this.#books.groupOf(book).key, () => this.#books.groupOf(book));
  }

  /** Of a limit that was lowered, whoever holds more than his share is to come down to that now. */
  #limitsChanged(book: OriginBook): void {
    this.#freed(book);
    if (!isOver(this.#books.groupOf(book))) return;
    for (const { holder, uid, epoch, expired } of book.ledger.leases.values()) {
      if (!expired && epoch > 0) this.#ask(holder, uid, epoch);
    }
  }

  #newLeaseId(): string {
    this.#serial += 1;
    return `${this.#nonce}-${this.#serial}`;
  }
}
