/**
 * Answers the holders: what they may take from an origin, how fast, and which pieces. Everything
 * that is granted is in the journal before it is told.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/messages.ts';
import type { OriginPolicy, OriginUsage } from '../controllers/dataSide.ts';
import { WORTH_A_TURN } from './allocate.ts';
import { Answers } from './answers.ts';
import type { JournalStore } from './journal.ts';
import {
  type ChargeRequest,
  type LeasedDistribution,
  LeaseError,
  type LeaseHolder,
  type SourceFailure,
} from './leases.ts';
import { chargeOf, type LeaseRecord, topUpBytesOf } from './ledger.ts';
import type { OriginBook } from './originBook.ts';
import { groupUsage, type HostGroup, OriginBooks, type OriginBooksOptions } from './originBooks.ts';
import { Probes } from './probes.ts';
import {
  budgetOf,
  fill,
  fillTopUp,
  grantOf,
  newPull,
  type Pull,
  release,
  type TopUpAsk,
  type Work,
  workOf,
} from './pulls.ts';
import { ReportedUse } from './reportedUse.ts';
import { Sharing, scarceIn } from './sharing.ts';
import { isWithin, renewedTerms } from './terms.ts';

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
  ShareExhausted: 15_000,
  NotAllowed: 15_000,
};
/** Nodes do not poll: they are called. This is for a call that was lost. */
const TOP_UP_WAIT_MS = 10_000;
/** After a change of leaders: until relays have said what they hold, nothing of it is given. */
const UNSURE_MS = 1_500;

export class LeaseService {
  readonly #clock: Clock;
  readonly #books: OriginBooks;
  readonly #probes: Probes;
  readonly #answers = new Answers();
  readonly #pulls = new Map<string, Pull>();
  readonly #used = new ReportedUse();
  readonly #random: Random;
  readonly #sharing: Sharing;
  /** When nodes that top up got their leases. */
  readonly #turns = new Map<string, number>();
  #nonce = '';
  #serial = 0;
  #ask: (holder: string, uid: string, epoch: number) => void = () => {};

  constructor(options: OriginBooksOptions, dependencies: LeaseServiceDependencies) {
    const { clock } = dependencies;
    this.#clock = clock;
    this.#random = dependencies.random;
    this.#books = new OriginBooks(options, {
      ...dependencies,
      onOpen: (book) => this.#opened(book),
      onExpired: (lease) => this.#release(lease),
      onGone: (lease) => this.#gone(lease),
      onFreed: () => this.#sharing.wake(),
    });
    const newLeaseId = () => this.#newLeaseId();
    this.#probes = new Probes({ books: this.#books, clock, newLeaseId });
    this.#sharing = new Sharing({
      clock,
      probes: this.#probes,
      groupOf: (uid) => this.#groupOf(uid),
      ask: ({ holder, uid, epoch }) => this.#ask(holder, uid, epoch),
    });
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.#books.setOrigins(policies);
    this.#sharing.wake();
  }

  setDistribution(distribution: LeasedDistribution): void {
    const { uid, epoch } = distribution;
    const known = this.#pulls.get(uid);
    const pull = newPull(distribution, known);
    this.#pulls.set(uid, pull);
    const before = known?.distribution.epoch === epoch ? known.distribution.revokedPullers : [];
    if (distribution.revokedPullers.length > before.length) this.#revoke(pull);
    if (known?.distribution.epoch !== epoch) {
      for (const book of this.#books.all()) this.#restore(uid, book);
    }
    this.#books.prepare(distribution.url);
    this.#sharing.wake(uid);
  }

  removeDistribution(uid: string): void {
    this.#pulls.delete(uid);
  }

  /** What a relay holds by its report, and its peers; undefined when that process is gone. */
  setHeld(
    uid: string,
    epoch: number,
    holder: string,
    bitfield: Uint8Array | undefined,
    spread?: Uint8Array,
  ): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined || pull.distribution.epoch !== epoch) return;
    const now = this.#clock.now();
    if (bitfield !== undefined) pull.pool.report(holder, bitfield, spread, now);
    else pull.pool.forget(holder, now);
    if (bitfield === undefined) this.#sharing.wake(uid);
  }

  /**
   * What a revoked puller has signed is to be pulled again, and by others. Which pieces these are the
   * relays' next reports tell, which leave out what nobody else has signed. Its leases end by
   * themselves: what it has asked the origin for still comes.
   */
  #revoke(pull: Pull): void {
    const { uid, epoch, revokedPullers } = pull.distribution;
    pull.pool.forgetHeld();
    pull.unsureUntilMs = this.#clock.now() + UNSURE_MS;
    for (const { ledger } of this.#books.all()) {
      for (const lease of ledger.leases.values()) {
        if (lease.uid !== uid || lease.epoch !== epoch) continue;
        if (revokedPullers.includes(lease.pullerKey)) release(pull, lease.leaseId);
      }
    }
    this.#clock.setTimer(UNSURE_MS, () => this.#sharing.wake(uid));
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
    this.#turns.clear();
    this.#sharing.clear();
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
    return group && this.#used.ofOrigin(group.books);
  }

  /** What was taken for this distribution, all epochs, as far as its holders have said. */
  originBytes(uid: string): number {
    return this.#used.ofDistribution(uid, this.#books.all());
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
    const { uid, epoch, pullerKey = '', wantConnections } = request;
    const ask = askOf(request);
    const purpose = ask === undefined ? 'pull' : 'topUp';
    const wait = (reason: WaitReason) => {
      const isQueued = reason === 'ConnectionsInUse' || reason === 'BandwidthInUse';
      this.#sharing.waits({ holder: holder.id, uid, epoch, purpose, isQueued });
      return waitFor(reason, purpose);
    };
    const pull = this.#pulls.get(uid);
    if (pull === undefined || pull.distribution.epoch !== epoch || pull.distribution.suspend) {
      return wait('NotReady');
    }
    if (!mayHave(holder, request, pull)) return wait('NotAllowed');
    const book = this.#books.bookFor(pull.distribution.url);
    const now = this.#clock.now();
    if (book === undefined || now < pull.unsureUntilMs) return wait('NotReady');
    this.#closeForgotten(book, holder, uid, epoch);
    const group = this.#books.groupOf(book);
    for (const each of group.books) each.rollPeriod();
    const pullers = this.#pullersOf(uid);
    const isOneStream = !pull.distribution.ranges && pullers > 0;
    if (ask === undefined && (pull.pool.free(now) === 0 || isOneStream)) {
      this.#sharing.withdraw(group, holder.id, uid);
      return wait('NothingToPull');
    }
    const leaseId = this.#newLeaseId();
    const room = this.#room(group, pull, ask, leaseId);
    if (room.bytes <= 0) {
      this.#sharing.withdraw(group, holder.id, uid);
      return wait(room.reason);
    }
    const claim = this.#want(group, holder, uid, request, purpose, false);
    const terms = this.#sharing.terms(group, claim, streamOf(pull), undefined);
    if (terms === undefined) return wait(scarceIn(group));
    const { rateBytesPerSecond } = terms;
    const work = { leaseId, rateBytesPerSecond, usedBytes: 0, pullers: pullers + 1 };
    const maxBytes = this.#fill(pull, work, ask, room.bytes);
    const extents = workOf(pull, leaseId);
    if (maxBytes === undefined || extents.length === 0) {
      release(pull, leaseId);
      this.#sharing.withdraw(group, holder.id, uid);
      return wait(maxBytes === undefined ? room.reason : 'NothingToPull');
    }
    this.#sharing.waitsNoMore(holder.id, uid);
    if (ask !== undefined) this.#turns.set(leaseId, now);
    const lease = {
      leaseId,
      holder: holder.id,
      uid,
      epoch,
      pullerKey,
      wantConnections,
      ...(ask !== undefined && { purpose: 'topUp' as const }),
    };
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
    const { uid, wantConnections, purpose = 'pull' } = lease;
    const usedBytes = this.#used.report(leaseId, request.usedBytes);
    const pull = this.#pullOf(lease);
    if (pull === undefined || pull.distribution.suspend) return waitFor('NothingToPull', purpose);
    if (pull.distribution.revokedPullers.includes(lease.pullerKey)) return { outcome: 'gone' };
    if (usedBytes > 0) pull.failure = undefined;
    if (purpose === 'topUp') pull.topUps.progress(leaseId, request.unfinished);
    else pull.pool.progress(leaseId, holder.id, request.unfinished);
    const group = this.#books.groupOf(book);
    const claim = this.#want(group, holder, uid, { ...request, wantConnections }, purpose, true);
    const before = lease.versions.at(-1) as LeaseRecord['versions'][number];
    const terms = this.#sharing.terms(group, claim, streamOf(pull), lease);
    const { rateBytesPerSecond } = terms ?? before;
    const work = { leaseId, rateBytesPerSecond, usedBytes, pullers: this.#pullersOf(uid) };
    const now = this.#clock.now();
    const ask = purpose === 'topUp' ? (askOf(request) ?? NO_MORE) : undefined;
    const room = this.#room(group, pull, ask, leaseId);
    // Without a share it finishes what it has, and its place is another's turn.
    const takesMore =
      terms !== undefined && now >= pull.unsureUntilMs && !this.#isTurnOver(group, lease);
    const maxBytes = takesMore ? this.#fill(pull, work, ask, room.bytes) : budgetOf(pull, work);
    const extents = workOf(pull, leaseId);
    if (extents.length === 0) return waitFor('NothingToPull', purpose);
    if (maxBytes === undefined || maxBytes > room.bytes) return waitFor(room.reason, purpose);
    const next = renewedTerms(before, { ...(terms ?? before), maxBytes }, room.bytes);
    // Only what is smaller is to be acknowledged: the larger counts as soon as it is granted.
    const version = isWithin(before, next) ? before.version : before.version + 1;
    const acknowledged = Math.min(request.version, before.version);
    const isSmaller = lease.versions.some((each) => each.version < acknowledged);
    await book.commit({ kind: 'renew', leaseId, version, acknowledged, terms: next, extents });
    if (isSmaller) this.#sharing.wake();
    return { outcome: 'granted', grant: grantOf(pull, lease, version, next, extents) };
  }

  /** Answers what the lease may take; undefined: too little is left for anything. */
  #fill(pull: Pull, work: Work, ask: TopUpAsk | undefined, bytes: number): number | undefined {
    if (ask === undefined) return fill(pull, work, bytes, this.#clock.now());
    return fillTopUp(pull, work, ask, { bytes, start: this.#random.next() });
  }

  async #settle(holder: LeaseHolder, request: Settle): Promise<LeaseAnswer> {
    const { leaseId, failure, unfinished, usedBytes } = request;
    const found = this.#books.find(leaseId);
    // Closed already, and charged whole.
    if (found === undefined || found.lease.holder !== holder.id) return { outcome: 'settled' };
    const { book, lease } = found;
    const pull = this.#pullOf(lease);
    if (pull !== undefined) {
      const isRevoked = pull.distribution.revokedPullers.includes(lease.pullerKey);
      if (lease.purpose !== 'topUp' && !isRevoked) {
        pull.pool.progress(leaseId, holder.id, unfinished);
        if (failure !== undefined) pull.failure = failure;
      }
    }
    // Who failed waits by itself; its share is free meanwhile.
    this.#sharing.withdraw(this.#books.groupOf(book), holder.id, lease.uid);
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

  #want(
    group: HostGroup,
    { id: holder }: LeaseHolder,
    uid: string,
    request: Pick<Acquire, 'wantRateBytesPerSecond' | 'wantConnections' | 'timeToFirstByteMs'>,
    purpose: 'pull' | 'topUp',
    isHolding: boolean,
  ) {
    const { wantConnections, timeToFirstByteMs } = request;
    // A node that is short of a little would otherwise wait for a rate that is never granted.
    const wantRateBytesPerSecond = Math.max(WORTH_A_TURN, request.wantRateBytesPerSecond);
    const weight = 1 + (this.#pulls.get(uid)?.distribution.priority ?? 0);
    const wants = { wantRateBytesPerSecond, wantConnections, timeToFirstByteMs };
    return this.#sharing.want(group, { holder, uid, weight, purpose, ...wants }, isHolding);
  }

  /** What a lease may take, from its beginning on, and what to say when that is too little. */
  #room(
    { limits, books }: HostGroup,
    { distribution }: Pull,
    ask: TopUpAsk | undefined,
    leaseId: string,
  ): { readonly bytes: number; readonly reason: WaitReason } {
    const { traffic } = limits;
    const used = groupUsage(books, leaseId).trafficBytes;
    const bytes = traffic === undefined ? Number.POSITIVE_INFINITY : traffic.bytes - used;
    if (ask === undefined) return { bytes, reason: 'TrafficExhausted' };
    const { uid, epoch, topUpBytes = 0 } = distribution;
    const taken = books.reduce(
      (sum, { ledger }) => sum + topUpBytesOf(ledger, uid, epoch, leaseId),
      0,
    );
    const left = topUpBytes - taken;
    return left < bytes
      ? { bytes: left, reason: 'ShareExhausted' }
      : { bytes, reason: 'TrafficExhausted' };
  }

  #isTurnOver(group: HostGroup, { leaseId, purpose }: LeaseRecord): boolean {
    if (purpose !== 'topUp') return false;
    // Of an earlier leader: nobody knows since when.
    const sinceMs = this.#turns.get(leaseId) ?? Number.NEGATIVE_INFINITY;
    return this.#sharing.isTurnOver(group, this.#clock.now() - sinceMs);
  }

  #groupOf(uid: string): HostGroup | undefined {
    const pull = this.#pulls.get(uid);
    const book = pull && this.#books.known(pull.distribution.url);
    return book && this.#books.groupOf(book);
  }

  #pullersOf(uid: string): number {
    let count = 0;
    for (const { ledger } of this.#books.all()) {
      for (const lease of ledger.leases.values()) {
        const isPuller = lease.purpose !== 'topUp' && lease.extents.length > 0;
        if (lease.uid === uid && !lease.expired && isPuller) count += 1;
      }
    }
    return count;
  }

  /** Of the lease's epoch, if that is the one that is pulled. */
  #pullOf({ uid, epoch }: LeaseRecord): Pull | undefined {
    const pull = this.#pulls.get(uid);
    return pull?.distribution.epoch === epoch ? pull : undefined;
  }

  #opened(book: OriginBook): void {
    for (const uid of this.#pulls.keys()) this.#restore(uid, book);
    this.#sharing.wake();
  }

  /** What leases of an earlier leader have, nobody else gets until they are over. */
  #restore(uid: string, { ledger, isOpen }: OriginBook): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined || !isOpen) return;
    const leases = [...ledger.leases.values()].filter((lease) => this.#pullOf(lease) === pull);
    if (chargeOf(ledger, uid).epoch === pull.distribution.epoch || leases.length > 0) {
      pull.unsureUntilMs = this.#clock.now() + UNSURE_MS;
    }
    for (const { leaseId, extents, expired, purpose } of leases) {
      if (expired) continue;
      if (purpose === 'topUp') pull.topUps.restore(leaseId, extents);
      else pull.pool.restore(leaseId, extents);
    }
  }

  #release({ leaseId, uid }: LeaseRecord): void {
    const pull = this.#pulls.get(uid);
    if (pull !== undefined) release(pull, leaseId);
  }

  #gone(lease: LeaseRecord): void {
    this.#release(lease);
    this.#used.forget(lease.leaseId);
    this.#turns.delete(lease.leaseId);
    this.#sharing.wake();
  }

  #newLeaseId(): string {
    this.#serial += 1;
    return `${this.#nonce}-${this.#serial}`;
  }
}

function waitFor(reason: WaitReason, purpose: 'pull' | 'topUp'): LeaseAnswer {
  const isCalled = reason === 'ConnectionsInUse' || reason === 'BandwidthInUse';
  const retryAfterMs = purpose === 'topUp' && isCalled ? TOP_UP_WAIT_MS : WAIT_MS[reason];
  return { outcome: 'wait', reason, retryAfterMs };
}

const NO_MORE: TopUpAsk = { acceptable: new Uint8Array(), wantBytes: 0 };

/** Of a node that is short; undefined: it pulls extents. */
function askOf({ topUp }: Pick<Acquire, 'topUp'>): TopUpAsk | undefined {
  if (topUp === undefined) return undefined;
  return { acceptable: Buffer.from(topUp.acceptable, 'base64'), wantBytes: topUp.wantBytes };
}

/** A relay pulls; a node tops up where its distribution lets it, in pieces and not in streams. */
function mayHave(
  { kind }: LeaseHolder,
  { topUp, pullerKey = '' }: Acquire,
  { distribution }: Pull,
): boolean {
  if (topUp === undefined) {
    const isRevoked = distribution.revokedPullers.includes(pullerKey);
    return kind === 'relay' && pullerKey !== '' && !isRevoked;
  }
  return distribution.topUpBytes !== undefined && distribution.ranges;
}

function streamOf({ distribution, sizeBytes }: Pull): { sizeBytes: number } | undefined {
  return distribution.ranges ? undefined : { sizeBytes };
}
