/**
 * Answers the holders: what they may take from an origin, how fast, and which pieces. Everything
 * that is granted is in the journal before it is told.
 */
import { randomBytes } from 'node:crypto';
import { certify } from '@sluice/engine/feed/certificate.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { LeaseAnswer, LeaseGrant, LeaseRequest } from '@sluice/protocol/messages.ts';
import type { OriginPolicy, OriginUsage } from '../controllers/dataSide.ts';
import { type Claim, shares } from './allocate.ts';
import { Claims, claimId } from './claims.ts';
import { coveringPolicy, hostOf } from './coverage.ts';
import type { Terms } from './entries.ts';
import { ExtentPool } from './extents.ts';
import type { JournalStore } from './journal.ts';
import {
  type ChargeRequest,
  type LeasedDistribution,
  LeaseError,
  type LeaseHolder,
  type SourceFailure,
} from './leases.ts';
import { bytesOf, type LeaseRecord, usageOf } from './ledger.ts';
import { LEASE_TTL_MS, limitsOf, OriginBook } from './originBook.ts';
import { budgetFor, type RateTerms, type Room, rateTerms, steady } from './terms.ts';

export interface LeaseServiceOptions {
  readonly defaultLimits: {
    readonly maxConnections: number;
    readonly maxBandwidthBytesPerSecond: number;
  };
  /** Serve only what an Origin covers. */
  readonly requireOrigin: boolean;
}

export interface LeaseServiceDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  /** Another replica leads: this one must stop to. */
  readonly onLost: (error: Error) => void;
  readonly onRetry: (error: unknown) => void;
}

type Acquire = Extract<LeaseRequest, { op: 'acquire' }>;
type Renew = Extract<LeaseRequest, { op: 'renew' }>;
type Settle = Extract<LeaseRequest, { op: 'settle' }>;
type WaitReason = Extract<LeaseAnswer, { outcome: 'wait' }>['reason'];

/** What runs for one epoch of a distribution. */
interface Pull {
  readonly distribution: LeasedDistribution;
  readonly pool: ExtentPool;
  readonly sizeBytes: number;
  failure: SourceFailure | undefined;
}

/** Handed out at once, as time at the holder's rate. */
const EXTENT_SECONDS = 1;
const DEFAULT_CLOSE_AFTER_SECONDS = 120;
const WAIT_MS: Readonly<Record<WaitReason, number>> = {
  NothingToPull: 3_000,
  ConnectionsInUse: 1_000,
  BandwidthInUse: 500,
  TrafficExhausted: 15_000,
  NotReady: 500,
};
/** Answers are kept so long, for requests that are sent again. */
const ANSWERS_MS = 60_000;
const MAX_ANSWERS = 100_000;
const CHARGE_RETRY_MS = 100;

export class LeaseService {
  readonly #options: LeaseServiceOptions;
  readonly #dependencies: LeaseServiceDependencies;
  readonly #books = new Map<string, OriginBook>();
  readonly #pulls = new Map<string, Pull>();
  /** What holders say they have used, by lease. */
  readonly #used = new Map<string, number>();
  readonly #claims = new Map<string, Claims>();
  /** Who waits, by journal and claim. */
  readonly #waiting = new Map<
    string,
    { book: string; holder: string; uid: string; epoch: number }
  >();
  readonly #answers = new Map<string, { atMs: number; answer: Promise<LeaseAnswer> }>();
  /** What probes that wait need of a window; others leave it free. */
  readonly #probes = new Map<string, { book: string; bytes: number }>();
  #policies: readonly OriginPolicy[] = [];
  #leadership:
    | { readonly term: number; readonly nonce: string; readonly abort: AbortController }
    | undefined;
  #ask: (holder: string, uid: string, epoch: number) => void = () => {};
  #serial = 0;

  constructor(options: LeaseServiceOptions, dependencies: LeaseServiceDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.#policies = policies;
    for (const book of this.#books.values()) book.limits = this.#limitsFor(book.key);
    this.#wake();
  }

  setDistribution(distribution: LeasedDistribution): void {
    const known = this.#pulls.get(distribution.uid);
    const isSame = known?.distribution.epoch === distribution.epoch;
    const sizeBytes = distribution.files.reduce((sum, file) => sum + file.sizeBytes, 0);
    const pool = isSame ? known.pool : new ExtentPool(distribution.pieceCount);
    const failure = isSame ? known.failure : undefined;
    this.#pulls.set(distribution.uid, { distribution, pool, sizeBytes, failure });
    if (!isSame) this.#restore(distribution.uid);
    // Its journal is fenced now, not when the first relay waits for it.
    if (this.#leadership !== undefined) this.#bookFor(distribution.url);
    this.#wake();
  }

  removeDistribution(uid: string): void {
    this.#pulls.delete(uid);
  }

  /** What a relay holds by its report; undefined when that process is gone. */
  setHeld(uid: string, epoch: number, holder: string, bitfield: Uint8Array | undefined): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined || pull.distribution.epoch !== epoch) return;
    const now = this.#dependencies.clock.now();
    if (bitfield !== undefined) pull.pool.report(holder, bitfield, now);
    else pull.pool.forget(holder, now);
    if (bitfield === undefined) this.#wake(uid);
  }

  /** Every journal is fenced before its first grant. */
  lead(term: number): void {
    this.stepDown();
    const nonce = randomBytes(12).toString('hex');
    this.#leadership = { term, nonce, abort: new AbortController() };
    for (const { distribution } of this.#pulls.values()) this.#bookFor(distribution.url);
    for (const { name } of this.#policies) this.#open(originKey(name));
  }

  /** Grants nothing more, at once. */
  stepDown(): void {
    this.#leadership?.abort.abort(new LeaseError('NotLeading', 'this replica leads no more'));
    this.#leadership = undefined;
    for (const book of this.#books.values()) book.close();
    this.#books.clear();
    this.#used.clear();
    this.#claims.clear();
    this.#waiting.clear();
    this.#answers.clear();
    this.#probes.clear();
    for (const [uid, pull] of this.#pulls) {
      this.#pulls.set(uid, { ...pull, pool: new ExtentPool(pull.distribution.pieceCount) });
    }
  }

  /** The same request, sent again, gets the same answer. */
  answer(holder: LeaseHolder, request: LeaseRequest): Promise<LeaseAnswer> {
    if (this.#leadership === undefined) {
      return Promise.reject(new LeaseError('NotLeading', 'this replica does not lead'));
    }
    const key = `${holder.id} ${request.incarnation} ${request.sequence}`;
    const known = this.#answers.get(key);
    if (known !== undefined) return known.answer;
    const answer = this.#answer(holder, request);
    const now = this.#dependencies.clock.now();
    this.#answers.set(key, { atMs: now, answer });
    this.#forgetAnswers(now);
    // A refusal is no decision: asked again it may be another.
    answer.catch(() => this.#answers.delete(key));
    return answer;
  }

  /**
   * For a request of the operator itself: one connection and `maxBytes` are leased, `use` runs,
   * what it took is settled. Waits while the limits leave no room.
   */
  async charge<T>(
    { url, uid, maxBytes }: ChargeRequest,
    signal: AbortSignal,
    use: () => Promise<{ readonly result: T; readonly usedBytes: number }>,
  ): Promise<T> {
    const book = await this.#openBook(url, signal);
    this.#serial += 1;
    const leaseId = `${book.key}-probe-${this.#leadership?.nonce}-${this.#serial}`;
    const slackBytes = Math.min(maxBytes, book.limits.bandwidthBytesPerSecond);
    this.#probes.set(leaseId, { book: book.key, bytes: slackBytes });
    try {
      for (;;) {
        signal.throwIfAborted();
        const refusal = this.#refusesProbe(book, leaseId, slackBytes, maxBytes);
        if (refusal === undefined) break;
        if (refusal === 'TrafficExhausted') {
          throw new LeaseError('OriginLimit', `the traffic limit of ${book.key} is used up`);
        }
        await this.#sleep(CHARGE_RETRY_MS, signal);
      }
      const terms = { rateBytesPerSecond: 0, slackBytes, connections: 1, maxBytes };
      const lease = { leaseId, holder: 'operator', uid, epoch: 0, host: hostOf(url) };
      const puller = { pullerKey: '', wantConnections: 1 };
      await book.commit({ kind: 'grant', ...lease, ...puller, terms, extents: [] });
    } finally {
      this.#probes.delete(leaseId);
    }
    let usedBytes = maxBytes;
    try {
      const used = await use();
      usedBytes = used.usedBytes;
      return used.result;
    } finally {
      // Its connection is closed, however it ended.
      await book.commit({ kind: 'settle', leaseId, usedBytes });
    }
  }

  /** The kubelet has reported the end of its container: its sockets are closed. */
  holderEnded(holder: string): void {
    for (const book of this.#books.values()) book.holderEnded(holder);
  }

  onAsk(listener: (holder: string, uid: string, epoch: number) => void): void {
    this.#ask = listener;
  }

  usage(originName: string): OriginUsage | undefined {
    const book = this.#books.get(originKey(originName));
    if (!book?.isOpen) return undefined;
    const { connections, rateBytesPerSecond } = book.usage;
    const { periodStartMs } = book.ledger;
    let trafficBytes = book.ledger.settledBytes;
    for (const lease of book.ledger.leases.keys()) trafficBytes += this.#usedBytes(lease);
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
    for (const { ledger } of this.#books.values()) {
      bytes += bytesOf(ledger, uid);
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
    const { uid, epoch } = request;
    const pull = this.#pulls.get(uid);
    const wait = (reason: WaitReason) => this.#wait(holder, request, book?.key ?? '', reason);
    const book = pull && this.#bookFor(pull.distribution.url);
    if (pull === undefined || pull.distribution.epoch !== epoch || pull.distribution.suspend) {
      return wait('NotReady');
    }
    if (!book?.isOpen || this.#heldElsewhere(book, pull.distribution.url)) return wait('NotReady');
    const now = this.#dependencies.clock.now();
    book.rollPeriod();
    const free = pull.pool.free(now);
    if (free === 0) {
      this.#claimsOf(book).delete(holder.id, uid);
      return wait('NothingToPull');
    }
    const isStream = !pull.distribution.ranges;
    if (isStream && this.#isPulled(book, uid)) return wait('NothingToPull');
    const claim = this.#want(book, holder, uid, request);
    const terms = this.#rateTerms(book, claim, pull, undefined);
    if (terms === undefined) return wait(this.#scarce(book));
    this.#serial += 1;
    const leaseId = `${book.key}-${this.#leadership?.nonce}-${this.#serial}`;
    const budget = this.#fill(book, pull, leaseId, terms.rateBytesPerSecond, 0);
    if (budget === undefined) return wait('TrafficExhausted');
    const extents = pull.pool.extentsOf(leaseId);
    this.#waiting.delete(claimId(holder.id, uid));
    const { pullerKey, wantConnections } = request;
    const lease = {
      leaseId,
      holder: holder.id,
      uid,
      epoch,
      host: hostOf(pull.distribution.url),
      pullerKey,
      wantConnections,
    };
    const full = { ...terms, maxBytes: budget };
    await book.commit({ kind: 'grant', ...lease, terms: full, extents });
    return { outcome: 'granted', grant: grantOf(pull, lease, 1, full, extents) };
  }

  async #renew(holder: LeaseHolder, request: Renew): Promise<LeaseAnswer> {
    const { leaseId } = request;
    const found = this.#find(leaseId);
    if (found === undefined || found.lease.holder !== holder.id || found.lease.expired) {
      return { outcome: 'gone' };
    }
    const { book, lease } = found;
    const { uid } = lease;
    const pull = this.#pulls.get(uid);
    const usedBytes = Math.max(this.#usedBytes(leaseId), request.usedBytes);
    this.#used.set(leaseId, usedBytes);
    if (
      pull === undefined ||
      pull.distribution.epoch !== lease.epoch ||
      pull.distribution.suspend
    ) {
      return waitFor('NothingToPull');
    }
    if (usedBytes > 0) pull.failure = undefined;
    book.rollPeriod();
    pull.pool.progress(leaseId, holder.id, request.unfinished);
    const claim = this.#want(book, holder, uid, {
      ...request,
      wantConnections: lease.wantConnections,
    });
    const before = lease.versions.at(-1) as Terms;
    const terms = this.#rateTerms(book, claim, pull, lease);
    const rate = terms?.rateBytesPerSecond ?? before.rateBytesPerSecond;
    // Without a share it finishes what it has, and its place is another's turn.
    const budget =
      terms === undefined
        ? this.#budget(book, pull, leaseId, rate, usedBytes)
        : this.#fill(book, pull, leaseId, rate, usedBytes);
    const extents = pull.pool.extentsOf(leaseId);
    if (extents.length === 0 || budget === undefined) {
      return waitFor(extents.length === 0 ? 'NothingToPull' : 'TrafficExhausted');
    }
    const version = Math.max(...lease.versions.map((each) => each.version)) + 1;
    const full = { ...(terms ?? before), maxBytes: budget };
    const shrinks = lease.versions.some((each) => each.version < request.version);
    await book.commit({
      kind: 'renew',
      leaseId,
      version,
      acknowledged: request.version,
      terms: full,
      extents,
    });
    if (shrinks) this.#wake();
    return { outcome: 'granted', grant: grantOf(pull, lease, version, full, extents) };
  }

  async #settle(holder: LeaseHolder, request: Settle): Promise<LeaseAnswer> {
    const { leaseId, failure } = request;
    const found = this.#find(leaseId);
    // Closed already, and charged whole.
    if (found === undefined || found.lease.holder !== holder.id) return { outcome: 'settled' };
    const { book, lease } = found;
    const pull = this.#pulls.get(lease.uid);
    if (pull !== undefined && pull.distribution.epoch === lease.epoch) {
      pull.pool.progress(leaseId, holder.id, request.unfinished);
      if (failure !== undefined) pull.failure = failure;
    }
    // Who failed waits by itself; its share is free meanwhile.
    this.#claimsOf(book).delete(holder.id, lease.uid);
    await book.commit({ kind: 'settle', leaseId, usedBytes: request.usedBytes });
    return { outcome: 'settled' };
  }

  /** Gives pieces for about a second, as far as traffic allows; answers maxBytes. */
  #fill(
    book: OriginBook,
    pull: Pull,
    leaseId: string,
    rate: number,
    usedBytes: number,
  ): number | undefined {
    const { pool, distribution } = pull;
    const { pieceLengthBytes, ranges } = distribution;
    const now = this.#dependencies.clock.now();
    const before = countOf(pool.extentsOf(leaseId));
    if (!ranges) pool.take(leaseId, pool.pieceCount, now);
    else {
      const pullers = Math.max(1, this.#pullersOf(book, distribution.uid));
      const second = Math.max(1, Math.round((rate * EXTENT_SECONDS) / pieceLengthBytes));
      // At the end less, so that all pullers end together.
      const atEnd = Math.max(1, Math.ceil(pool.free(now) / (2 * pullers)));
      pool.take(leaseId, Math.max(0, Math.min(second - before, atEnd)), now);
    }
    for (;;) {
      const budget = this.#budget(book, pull, leaseId, rate, usedBytes);
      if (budget !== undefined) return budget;
      // Less work needs less traffic: the last pieces go back first.
      const pieces = piecesIn(pool.extentsOf(leaseId));
      if (pieces.length <= before || !ranges) {
        if (before === 0) pool.release(leaseId);
        return undefined;
      }
      const kept = Math.max(before, Math.floor(pieces.length / 2));
      pool.giveBack(leaseId, pieces.slice(kept));
      if (kept === 0) return undefined;
    }
  }

  /** All that the lease may take from its beginning on; undefined when traffic does not allow it. */
  #budget(
    book: OriginBook,
    pull: Pull,
    leaseId: string,
    rate: number,
    usedBytes: number,
  ): number | undefined {
    const { pool, distribution, sizeBytes } = pull;
    const pieces = countOf(pool.extentsOf(leaseId));
    const payload = distribution.ranges
      ? Math.min(sizeBytes, pieces * distribution.pieceLengthBytes)
      : sizeBytes;
    const budget = Math.ceil(usedBytes + budgetFor(payload, rate, !distribution.ranges));
    const { traffic } = book.limits;
    if (traffic === undefined) return budget;
    const others = usageOf(book.ledger, leaseId).trafficBytes;
    return others + budget <= traffic.bytes ? budget : undefined;
  }

  #rateTerms(
    book: OriginBook,
    claim: Claim,
    pull: Pull,
    lease: LeaseRecord | undefined,
  ): RateTerms | undefined {
    const { limits, ledger } = book;
    const probes = [...this.#probes.values()].filter((probe) => probe.book === book.key);
    const reserved = probes.reduce((sum, { bytes }) => sum + bytes, 0);
    const all = {
      windowBytes: Math.max(0, limits.bandwidthBytesPerSecond - reserved),
      connections: Math.max(0, limits.connections - probes.length),
    };
    const claims = this.#claimsOf(book).active(ledger, this.#dependencies.clock.now());
    const share = shares(claims, all).get(claim.id);
    if (share === undefined) return undefined;
    const others = usageOf(ledger, lease?.leaseId);
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
    book: OriginBook,
    { id: holder }: LeaseHolder,
    uid: string,
    request: Pick<Acquire, 'wantRateBytesPerSecond' | 'wantConnections' | 'timeToFirstByteMs'>,
  ): Claim {
    const want = {
      holder,
      uid,
      atMs: this.#dependencies.clock.now(),
      weight: 1 + (this.#pulls.get(uid)?.distribution.priority ?? 0),
      wantRateBytesPerSecond: request.wantRateBytesPerSecond,
      wantConnections: request.wantConnections,
      timeToFirstByteMs: request.timeToFirstByteMs,
    };
    this.#claimsOf(book).set(want);
    return { ...want, id: claimId(holder, uid) };
  }

  #refusesProbe(
    book: OriginBook,
    leaseId: string,
    windowBytes: number,
    maxBytes: number,
  ): WaitReason | undefined {
    const { limits, usage } = book;
    if (!book.isOpen) return 'NotReady';
    // Those that waited before come first.
    const first = [...this.#probes].find(([, probe]) => probe.book === book.key)?.[0];
    if (first !== leaseId) return 'BandwidthInUse';
    book.rollPeriod();
    const { traffic } = limits;
    if (traffic !== undefined && usage.trafficBytes + maxBytes > traffic.bytes) {
      return usage.connections === 0 ? 'TrafficExhausted' : 'BandwidthInUse';
    }
    if (usage.connections + 1 > limits.connections) return 'ConnectionsInUse';
    if (usage.windowBytes + windowBytes > limits.bandwidthBytesPerSecond) return 'BandwidthInUse';
    return undefined;
  }

  #scarce(book: OriginBook): WaitReason {
    return book.usage.connections >= book.limits.connections
      ? 'ConnectionsInUse'
      : 'BandwidthInUse';
  }

  #wait(
    holder: LeaseHolder,
    { uid, epoch }: Acquire,
    book: string,
    reason: WaitReason,
  ): LeaseAnswer {
    this.#waiting.set(claimId(holder.id, uid), { book, holder: holder.id, uid, epoch });
    return waitFor(reason);
  }

  /** Something became free: whoever waits is to ask now. */
  #wake(uid?: string): void {
    for (const [key, waiting] of this.#waiting) {
      if (uid !== undefined && waiting.uid !== uid) continue;
      this.#waiting.delete(key);
      this.#ask(waiting.holder, waiting.uid, waiting.epoch);
    }
  }

  #isPulled(book: OriginBook, uid: string): boolean {
    return this.#pullersOf(book, uid) > 0;
  }

  #pullersOf(book: OriginBook, uid: string): number {
    let count = 0;
    for (const lease of book.ledger.leases.values()) {
      if (lease.uid === uid && !lease.expired && lease.extents.length > 0) count += 1;
    }
    return count;
  }

  #find(leaseId: string): { book: OriginBook; lease: LeaseRecord } | undefined {
    for (const book of this.#books.values()) {
      const lease = book.ledger.leases.get(leaseId);
      if (lease !== undefined) return { book, lease };
    }
    return undefined;
  }

  #usedBytes(leaseId: string): number {
    return this.#used.get(leaseId) ?? 0;
  }

  /** Leases that another journal has for this host: another Origin covered it a moment ago. */
  #heldElsewhere(book: OriginBook, url: string): boolean {
    const host = hostOf(url);
    for (const other of this.#books.values()) {
      if (other === book) continue;
      for (const lease of other.ledger.leases.values()) if (lease.host === host) return true;
    }
    return false;
  }

  async #openBook(url: string, signal: AbortSignal): Promise<OriginBook> {
    for (;;) {
      signal.throwIfAborted();
      const book = this.#bookFor(url);
      if (book === undefined) throw new LeaseError('NotReady', 'this replica does not lead yet');
      if (book.isOpen && !this.#heldElsewhere(book, url)) return book;
      await this.#sleep(CHARGE_RETRY_MS, signal);
    }
  }

  #bookFor(url: string): OriginBook | undefined {
    const policy = coveringPolicy(url, this.#policies);
    if (policy !== undefined) return this.#open(originKey(policy.name));
    if (this.#options.requireOrigin) {
      const message = `no Origin covers ${hostOf(url)}, and the operator serves only what one covers: create an Origin that names this host`;
      throw new LeaseError('OriginRequired', message);
    }
    return this.#open(`host:${hostOf(url)}`);
  }

  #open(key: string): OriginBook | undefined {
    const leadership = this.#leadership;
    const known = this.#books.get(key);
    if (known !== undefined || leadership === undefined) return known;
    const { term, nonce, abort } = leadership;
    const { store, clock, wallClock, onLost, onRetry } = this.#dependencies;
    const book = new OriginBook(
      { key, term, nonce, limits: this.#limitsFor(key) },
      {
        store,
        clock,
        wallClock,
        onRetry,
        onLost: (error) => {
          if (this.#leadership === leadership) onLost(error);
        },
        onGone: (lease) => this.#gone(lease),
        onFreed: () => this.#wake(),
      },
    );
    this.#books.set(key, book);
    this.#openUntilDone(book, abort.signal).then(
      () => {
        for (const uid of this.#pulls.keys()) this.#restore(uid);
        this.#wake();
      },
      (error: Error) => {
        if (!abort.signal.aborted) onLost(error);
      },
    );
    return book;
  }

  async #openUntilDone(book: OriginBook, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        return await book.open(signal);
      } catch (error) {
        const { code } = error as { code?: unknown };
        if (signal.aborted || code === 'JournalBroken') throw error;
        this.#dependencies.onRetry(error);
        await this.#sleep(WAIT_MS.NotReady, signal);
      }
    }
  }

  /** What leases of an earlier leader have, nobody else gets until they are over. */
  #restore(uid: string): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined) return;
    for (const { ledger } of this.#books.values()) {
      for (const lease of ledger.leases.values()) {
        const isOurs = lease.uid === uid && lease.epoch === pull.distribution.epoch;
        if (isOurs) pull.pool.restore(lease.leaseId, lease.extents);
      }
    }
  }

  #gone(lease: LeaseRecord): void {
    this.#pulls.get(lease.uid)?.pool.release(lease.leaseId);
    this.#used.delete(lease.leaseId);
    this.#wake();
  }

  #limitsFor(key: string) {
    const policy = this.#policies.find(({ name }) => originKey(name) === key);
    const closeAfterSeconds = DEFAULT_CLOSE_AFTER_SECONDS;
    return limitsOf(policy ?? { limits: this.#options.defaultLimits, closeAfterSeconds });
  }

  #claimsOf(book: OriginBook): Claims {
    let claims = this.#claims.get(book.key);
    if (claims === undefined) {
      claims = new Claims();
      this.#claims.set(book.key, claims);
    }
    return claims;
  }

  #forgetAnswers(nowMs: number): void {
    for (const [key, { atMs }] of this.#answers) {
      if (nowMs - atMs < ANSWERS_MS && this.#answers.size <= MAX_ANSWERS) return;
      this.#answers.delete(key);
    }
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        timer.cancel();
        reject(signal.reason);
      };
      const timer = this.#dependencies.clock.setTimer(ms, () => {
        signal.removeEventListener('abort', abort);
        resolve();
      });
      signal.addEventListener('abort', abort, { once: true });
    });
  }
}

function originKey(name: string): string {
  return `origin:${name}`;
}

function waitFor(reason: WaitReason): LeaseAnswer {
  return { outcome: 'wait', reason, retryAfterMs: WAIT_MS[reason] };
}

function grantOf(
  { distribution }: Pull,
  { leaseId, pullerKey }: Pick<LeaseRecord, 'leaseId' | 'pullerKey'>,
  version: number,
  terms: Terms,
  extents: LeaseGrant['extents'],
): LeaseGrant {
  const { uid, epoch, swarmId, feedPublicKey, feedSeed } = distribution;
  const keys = {
    publicKey: Buffer.from(feedPublicKey, 'base64'),
    seed: Buffer.from(feedSeed, 'base64'),
  };
  const puller = Buffer.from(pullerKey, 'base64');
  const certificate = certify(keys, Buffer.from(swarmId, 'hex'), puller, extents);
  return { leaseId, version, uid, epoch, extents, ...terms, ttlMs: LEASE_TTL_MS, certificate };
}

function countOf(extents: LeaseGrant['extents']): number {
  return extents.reduce((sum, { count }) => sum + count, 0);
}

function piecesIn(extents: LeaseGrant['extents']): number[] {
  return extents.flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, at) => first + at),
  );
}
