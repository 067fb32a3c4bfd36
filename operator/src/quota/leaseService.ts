/**
 * Answers the holders: what they may take from an origin, how fast, and which pieces. Everything
 * that is granted is in the journal before it is told.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/messages.ts';
import type { OriginPolicy, OriginUsage } from '../controllers/dataSide.ts';
import { type Claim, shares } from './allocate.ts';
import { Answers } from './answers.ts';
import { Claims, claimId } from './claims.ts';
import type { JournalStore } from './journal.ts';
import {
  type ChargeRequest,
  type LeasedDistribution,
  LeaseError,
  type LeaseHolder,
  type SourceFailure,
} from './leases.ts';
import { chargeOf, type LeaseRecord } from './ledger.ts';
import type { OriginBook } from './originBook.ts';
import { groupUsage, type HostGroup, OriginBooks, type OriginBooksOptions } from './originBooks.ts';
import { Probes } from './probes.ts';
import { budgetOf, fill, grantOf, newPull, type Pull } from './pulls.ts';
import { isWithin, type RateTerms, type Room, rateTerms, renewedTerms, steady } from './terms.ts';

export interface LeaseServiceDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  /** Another replica leads: this one must stop to. */
  readonly onLost: (error: Error) => void;
  /** The journal of one host has a gap: nothing is granted there, and a person has to look. */
  readonly onBroken: (error: Error) => void;
  readonly onRetry: (error: unknown) => void;
}

type Acquire = Extract<LeaseRequest, { op: 'acquire' }>;
type Renew = Extract<LeaseRequest, { op: 'renew' }>;
type Settle = Extract<LeaseRequest, { op: 'settle' }>;
type WaitReason = Extract<LeaseAnswer, { outcome: 'wait' }>['reason'];

const WAIT_MS: Readonly<Record<WaitReason, number>> = {
  NothingToPull: 3_000,
  ConnectionsInUse: 1_000,
  BandwidthInUse: 500,
  TrafficExhausted: 15_000,
  NotReady: 500,
};
/** After a change of leaders: until relays have said what they hold, nothing of it is given. */
const UNSURE_MS = 1_500;

interface Waiting {
  readonly holder: string;
  readonly uid: string;
  readonly epoch: number;
}

export class LeaseService {
  readonly #clock: Clock;
  readonly #books: OriginBooks;
  readonly #probes: Probes;
  readonly #answers = new Answers();
  readonly #pulls = new Map<string, Pull>();
  /** What holders say they have used, by lease. */
  readonly #used = new Map<string, number>();
  /** By group of hosts. */
  readonly #claims = new Map<string, Claims>();
  readonly #waiting = new Map<string, Waiting>();
  #nonce = '';
  #serial = 0;
  #ask: (holder: string, uid: string, epoch: number) => void = () => {};

  constructor(options: OriginBooksOptions, dependencies: LeaseServiceDependencies) {
    const { clock } = dependencies;
    this.#clock = clock;
    this.#books = new OriginBooks(options, {
      ...dependencies,
      onOpen: (book) => this.#opened(book),
      onExpired: ({ leaseId, uid }) => this.#pulls.get(uid)?.pool.release(leaseId),
      onGone: (lease) => this.#gone(lease),
      onFreed: () => this.#wake(),
    });
    const newLeaseId = () => this.#newLeaseId();
    this.#probes = new Probes({ books: this.#books, clock, newLeaseId });
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.#books.setOrigins(policies);
    this.#wake();
  }

  setDistribution(distribution: LeasedDistribution): void {
    const { uid, epoch } = distribution;
    const known = this.#pulls.get(uid);
    this.#pulls.set(uid, newPull(distribution, known));
    if (known?.distribution.epoch !== epoch) {
      for (const book of this.#books.all()) this.#restore(uid, book);
    }
    this.#books.prepare(distribution.url);
    this.#wake();
  }

  removeDistribution(uid: string): void {
    this.#pulls.delete(uid);
  }

  /** What a relay holds by its report; undefined when that process is gone. */
  setHeld(uid: string, epoch: number, holder: string, bitfield: Uint8Array | undefined): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined || pull.distribution.epoch !== epoch) return;
    const now = this.#clock.now();
    if (bitfield !== undefined) pull.pool.report(holder, bitfield, now);
    else pull.pool.forget(holder, now);
    if (bitfield === undefined) this.#wake(uid);
  }

  /** Every journal is fenced before its first grant. */
  lead(term: number): void {
    this.stepDown();
    this.#nonce = randomBytes(12).toString('hex');
    this.#books.lead(term, this.#nonce);
    for (const { distribution } of this.#pulls.values()) this.#books.prepare(distribution.url);
  }

  /** Grants nothing more, at once. */
  stepDown(): void {
    this.#books.stepDown();
    this.#used.clear();
    this.#claims.clear();
    this.#waiting.clear();
    this.#answers.clear();
    this.#probes.clear();
    for (const [uid, { distribution }] of this.#pulls) {
      this.#pulls.set(uid, newPull(distribution, undefined));
    }
  }

  /** The same request, sent again, gets the same answer. */
  answer(holder: LeaseHolder, request: LeaseRequest): Promise<LeaseAnswer> {
    if (!this.#books.isLeading) {
      return Promise.reject(new LeaseError('NotLeading', 'this replica does not lead'));
    }
    return this.#answers.once(holder.id, request, this.#clock.now(), () =>
      this.#answer(holder, request),
    );
  }

  /**
   * For a request of the operator itself: one connection and `maxBytes` are leased, `use` runs,
   * what it took is settled. Waits while the limits leave no room.
   */
  charge<T>(
    request: ChargeRequest,
    signal: AbortSignal,
    use: (lease: AbortSignal) => Promise<{ readonly result: T; readonly usedBytes: number }>,
  ): Promise<T> {
    return this.#probes.charge(request, signal, use);
  }

  /** The kubelet has reported the end of its container: its sockets are closed. */
  holderEnded(holder: string): void {
    for (const book of this.#books.all()) book.holderEnded(holder);
  }

  onAsk(listener: (holder: string, uid: string, epoch: number) => void): void {
    this.#ask = listener;
  }

  usage(originName: string): OriginUsage | undefined {
    const group = this.#books.groupNamed(originName);
    if (group === undefined) return undefined;
    const { books } = group;
    for (const book of books) book.rollPeriod();
    const { connections, rateBytesPerSecond } = groupUsage(books);
    const periodStartMs = Math.max(0, ...books.map(({ ledger }) => ledger.periodStartMs));
    let trafficBytes = 0;
    for (const { ledger } of books) {
      trafficBytes += ledger.settledBytes;
      for (const leaseId of ledger.leases.keys()) trafficBytes += this.#usedBytes(leaseId);
    }
    return {
      connections,
      rateBytesPerSecond,
      trafficBytes,
      ...(periodStartMs > 0 && { periodStart: new Date(periodStartMs).toISOString() }),
    };
  }

  /** What was taken for this distribution, all epochs, as far as its holders have said. */
  originBytes(uid: string): number {
    let bytes = 0;
    for (const { ledger } of this.#books.all()) {
      bytes += chargeOf(ledger, uid).bytes;
      for (const lease of ledger.leases.values()) {
        if (lease.uid === uid) bytes += this.#usedBytes(lease.leaseId);
      }
    }
    return bytes;
  }

  /** Why the last puller of this epoch gave up; undefined when one has had bytes since. */
  failureOf(uid: string, epoch: number): SourceFailure | undefined {
    const pull = this.#pulls.get(uid);
    return pull?.distribution.epoch === epoch ? pull.failure : undefined;
  }

  #answer(holder: LeaseHolder, request: LeaseRequest): Promise<LeaseAnswer> {
    switch (request.op) {
      case 'acquire':
        return this.#acquire(holder, request);
      case 'renew':
        return this.#renew(holder, request);
      case 'settle':
        return this.#settle(holder, request);
    }
  }

  async #acquire(holder: LeaseHolder, request: Acquire): Promise<LeaseAnswer> {
    const { uid, epoch, pullerKey, wantConnections } = request;
    const wait = (reason: WaitReason) => {
      this.#waiting.set(claimId(holder.id, uid), { holder: holder.id, uid, epoch });
      return waitFor(reason);
    };
    const pull = this.#pulls.get(uid);
    if (pull === undefined || pull.distribution.epoch !== epoch || pull.distribution.suspend) {
      return wait('NotReady');
    }
    const book = this.#books.bookFor(pull.distribution.url);
    const now = this.#clock.now();
    if (book === undefined || now < pull.unsureUntilMs) return wait('NotReady');
    this.#closeForgotten(book, holder, uid, epoch);
    const group = this.#books.groupOf(book);
    for (const each of group.books) each.rollPeriod();
    const pullers = this.#pullersOf(uid);
    if (pull.pool.free(now) === 0 || (!pull.distribution.ranges && pullers > 0)) {
      this.#claimsOf(group).delete(holder.id, uid);
      return wait('NothingToPull');
    }
    const claim = this.#want(group, holder, uid, request);
    const terms = this.#rateTerms(group, claim, pull, undefined);
    if (terms === undefined) return wait(scarceIn(group));
    const leaseId = this.#newLeaseId();
    const { rateBytesPerSecond } = terms;
    const work = { leaseId, rateBytesPerSecond, usedBytes: 0, pullers: pullers + 1 };
    const maxBytes = fill(pull, work, trafficLeft(group, leaseId), now);
    if (maxBytes === undefined) return wait('TrafficExhausted');
    const extents = pull.pool.extentsOf(leaseId);
    this.#waiting.delete(claimId(holder.id, uid));
    const lease = { leaseId, holder: holder.id, uid, epoch, pullerKey, wantConnections };
    const full = { ...terms, maxBytes };
    await book.grant({ ...lease, terms: full, extents });
    return { outcome: 'granted', grant: grantOf(pull, lease, 1, full, extents) };
  }

  async #renew(holder: LeaseHolder, request: Renew): Promise<LeaseAnswer> {
    const { leaseId } = request;
    const found = this.#books.find(leaseId);
    if (found === undefined || found.lease.holder !== holder.id || found.lease.expired) {
      return { outcome: 'gone' };
    }
    const { book, lease } = found;
    const { uid, wantConnections } = lease;
    const usedBytes = Math.max(this.#usedBytes(leaseId), request.usedBytes);
    this.#used.set(leaseId, usedBytes);
    const pull = this.#pullOf(lease);
    if (pull === undefined || pull.distribution.suspend) return waitFor('NothingToPull');
    if (usedBytes > 0) pull.failure = undefined;
    pull.pool.progress(leaseId, holder.id, request.unfinished);
    const group = this.#books.groupOf(book);
    const claim = this.#want(group, holder, uid, { ...request, wantConnections });
    const before = lease.versions.at(-1) as LeaseRecord['versions'][number];
    const terms = this.#rateTerms(group, claim, pull, lease);
    const { rateBytesPerSecond } = terms ?? before;
    const work = { leaseId, rateBytesPerSecond, usedBytes, pullers: this.#pullersOf(uid) };
    const now = this.#clock.now();
    const left = trafficLeft(group, leaseId);
    // Without a share it finishes what it has, and its place is another's turn.
    const takesMore = terms !== undefined && now >= pull.unsureUntilMs;
    const maxBytes = takesMore ? fill(pull, work, left, now) : budgetOf(pull, work);
    const extents = pull.pool.extentsOf(leaseId);
    if (extents.length === 0) return waitFor('NothingToPull');
    if (maxBytes === undefined || maxBytes > left) return waitFor('TrafficExhausted');
    const next = renewedTerms(before, { ...(terms ?? before), maxBytes }, left);
    // Only what is smaller is to be acknowledged: the larger counts as soon as it is granted.
    const version = isWithin(before, next) ? before.version : before.version + 1;
    const acknowledged = Math.min(request.version, before.version);
    const isSmaller = lease.versions.some((each) => each.version < acknowledged);
    await book.commit({ kind: 'renew', leaseId, version, acknowledged, terms: next, extents });
    if (isSmaller) this.#wake();
    return { outcome: 'granted', grant: grantOf(pull, lease, version, next, extents) };
  }

  async #settle(holder: LeaseHolder, request: Settle): Promise<LeaseAnswer> {
    const { leaseId, failure, unfinished, usedBytes } = request;
    const found = this.#books.find(leaseId);
    // Closed already, and charged whole.
    if (found === undefined || found.lease.holder !== holder.id) return { outcome: 'settled' };
    const { book, lease } = found;
    const pull = this.#pullOf(lease);
    if (pull !== undefined) {
      pull.pool.progress(leaseId, holder.id, unfinished);
      if (failure !== undefined) pull.failure = failure;
    }
    // Who failed waits by itself; its share is free meanwhile.
    this.#claimsOf(this.#books.groupOf(book)).delete(holder.id, lease.uid);
    await book.settle(leaseId, usedBytes);
    return { outcome: 'settled' };
  }

  /**
   * A holder asks for one lease an epoch at a time, with everything closed that it had before. One
   * that it does not know of, because the answer was lost, or whose end we were not told, is over.
   */
  #closeForgotten(book: OriginBook, holder: LeaseHolder, uid: string, epoch: number): void {
    for (const lease of book.ledger.leases.values()) {
      if (lease.holder !== holder.id || lease.uid !== uid || lease.epoch !== epoch) continue;
      book.closeLease(lease.leaseId).catch(() => {});
    }
  }

  #rateTerms(
    { key, limits, books }: HostGroup,
    claim: Claim,
    pull: Pull,
    lease: LeaseRecord | undefined,
  ): RateTerms | undefined {
    const reserved = this.#probes.reserved(key);
    const all = {
      windowBytes: Math.max(0, limits.bandwidthBytesPerSecond - reserved.windowBytes),
      connections: Math.max(0, limits.connections - reserved.connections),
    };
    const leases = books.flatMap(({ ledger }) => [...ledger.leases.values()]);
    const claims = this.#claimsOf({ key }).active(leases, this.#clock.now());
    const share = shares(claims, all).get(claim.id);
    if (share === undefined) return undefined;
    const others = groupUsage(books, lease?.leaseId);
    const room: Room = {
      windowBytes: all.windowBytes - others.windowBytes,
      connections: all.connections - others.connections,
    };
    const stream = pull.distribution.ranges ? undefined : { sizeBytes: pull.sizeBytes };
    const terms = rateTerms(claim, share, room, stream);
    const before = lease?.versions.at(-1);
    return terms === undefined || before === undefined ? terms : steady(before, terms, room);
  }

  #want(
    group: HostGroup,
    { id: holder }: LeaseHolder,
    uid: string,
    request: Pick<Acquire, 'wantRateBytesPerSecond' | 'wantConnections' | 'timeToFirstByteMs'>,
  ): Claim {
    return this.#claimsOf(group).set({
      holder,
      uid,
      atMs: this.#clock.now(),
      weight: 1 + (this.#pulls.get(uid)?.distribution.priority ?? 0),
      wantRateBytesPerSecond: request.wantRateBytesPerSecond,
      wantConnections: request.wantConnections,
      timeToFirstByteMs: request.timeToFirstByteMs,
    });
  }

  /** Something became free: whoever waits is to ask now. */
  #wake(uid?: string): void {
    for (const [key, waiting] of this.#waiting) {
      if (uid !== undefined && waiting.uid !== uid) continue;
      this.#waiting.delete(key);
      this.#ask(waiting.holder, waiting.uid, waiting.epoch);
    }
  }

  #pullersOf(uid: string): number {
    let count = 0;
    for (const { ledger } of this.#books.all()) {
      for (const lease of ledger.leases.values()) {
        if (lease.uid === uid && !lease.expired && lease.extents.length > 0) count += 1;
      }
    }
    return count;
  }

  /** Of the lease's epoch, if that is the one that is pulled. */
  #pullOf({ uid, epoch }: LeaseRecord): Pull | undefined {
    const pull = this.#pulls.get(uid);
    return pull?.distribution.epoch === epoch ? pull : undefined;
  }

  #usedBytes(leaseId: string): number {
    return this.#used.get(leaseId) ?? 0;
  }

  #opened(book: OriginBook): void {
    for (const uid of this.#pulls.keys()) this.#restore(uid, book);
    this.#wake();
  }

  /** What leases of an earlier leader have, nobody else gets until they are over. */
  #restore(uid: string, { ledger, isOpen }: OriginBook): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined || !isOpen) return;
    const leases = [...ledger.leases.values()].filter((lease) => this.#pullOf(lease) === pull);
    if (chargeOf(ledger, uid).epoch === pull.distribution.epoch || leases.length > 0) {
      pull.unsureUntilMs = this.#clock.now() + UNSURE_MS;
    }
    for (const { leaseId, extents, expired } of leases) {
      if (!expired) pull.pool.restore(leaseId, extents);
    }
  }

  #gone({ leaseId, uid }: LeaseRecord): void {
    this.#pulls.get(uid)?.pool.release(leaseId);
    this.#used.delete(leaseId);
    this.#wake();
  }

  /** Of one host, or of all that an Origin covers. */
  #claimsOf({ key }: Pick<HostGroup, 'key'>): Claims {
    let claims = this.#claims.get(key);
    if (claims === undefined) {
      claims = new Claims();
      this.#claims.set(key, claims);
    }
    return claims;
  }

  #newLeaseId(): string {
    this.#serial += 1;
    return `${this.#nonce}-${this.#serial}`;
  }
}

function waitFor(reason: WaitReason): LeaseAnswer {
  return { outcome: 'wait', reason, retryAfterMs: WAIT_MS[reason] };
}

function scarceIn({ limits, books }: HostGroup): WaitReason {
  const { connections } = groupUsage(books);
  return connections >= limits.connections ? 'ConnectionsInUse' : 'BandwidthInUse';
}

/** What a lease may take, from its beginning on. */
function trafficLeft({ limits, books }: HostGroup, leaseId: string): number {
  if (limits.traffic === undefined) return Number.POSITIVE_INFINITY;
  return limits.traffic.bytes - groupUsage(books, leaseId).trafficBytes;
}
