import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import { WORTH_A_TURN } from './allocate.ts';
import { askOf, mayHave, NO_MORE } from './leaseAsks.ts';
import type { LeaseObserver, WaitReason } from './leaseEvents.ts';
import { LeaseError, type LeaseHolder } from './leases.ts';
import { type LeaseRecord, topUpBytesOf, unprovenOf } from './ledger.ts';
import type { MeterWatch } from './meterWatch.ts';
import type { OriginBook } from './originBook.ts';
import { groupUsage, type HostGroup, isOver, type OriginBooks } from './originBooks.ts';
import type { OriginReport } from './originReport.ts';
import type { PullRegistry } from './pullRegistry.ts';
import { type PullSource, sourcesFor, urlOfLease } from './pullSources.ts';
import {
  budgetOf,
  certificatesOf,
  fill,
  fillTopUp,
  grantOf,
  type Pull,
  release,
  type TopUpAsk,
  type Work,
  workOf,
} from './pulls.ts';
import type { ReportedUse } from './reportedUse.ts';
import { type Sharing, scarceIn } from './sharing.ts';
import { isWithin, renewedTerms } from './terms.ts';

export interface LeaseRequestsDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly books: OriginBooks;
  readonly pulls: PullRegistry;
  readonly sharing: Sharing;
  readonly used: ReportedUse;
  readonly meters: MeterWatch;
  readonly report: OriginReport;
  readonly observe: LeaseObserver;
  readonly newLeaseId: () => string;
  /** Somebody came, went or came down at this host. */
  readonly changed: (book: OriginBook) => void;
}

type Acquire = Extract<LeaseRequest, { op: 'acquire' }>;
type Renew = Extract<LeaseRequest, { op: 'renew' }>;
type Settle = Extract<LeaseRequest, { op: 'settle' }>;
type Certify = Extract<LeaseRequest, { op: 'certify' }>;

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

/** Answers a holder's request; what it grants is in the journal before it is told. */
export class LeaseRequests {
  readonly #dependencies: LeaseRequestsDependencies;
  readonly #books: OriginBooks;
  readonly #pulls: PullRegistry;
  readonly #sharing: Sharing;
  /** When nodes that top up got their leases. */
  readonly #turns = new Map<string, number>();
  /** Of the newest renewal of each lease. */
  readonly #sequences = new Map<string, number>();

  constructor(dependencies: LeaseRequestsDependencies) {
    this.#dependencies = dependencies;
    this.#books = dependencies.books;
    this.#pulls = dependencies.pulls;
    this.#sharing = dependencies.sharing;
  }

  async answer(holder: LeaseHolder, request: LeaseRequest): Promise<LeaseAnswer> {
    const answer = await this.#answer(holder, request);
    const { observe } = this.#dependencies;
    if (answer.outcome === 'wait') observe({ kind: 'denied', reason: answer.reason });
    if (answer.outcome === 'gone') observe({ kind: 'denied', reason: 'Gone' });
    if (answer.outcome === 'granted') {
      const purpose = request.op === 'acquire' && request.topUp === undefined ? 'pull' : 'topUp';
      observe(request.op === 'acquire' ? { kind: 'granted', purpose } : { kind: 'renewed' });
    }
    return answer;
  }

  #answer(holder: LeaseHolder, request: LeaseRequest): Promise<LeaseAnswer> {
    switch (request.op) {
      case 'acquire':
        return this.#acquire(holder, request);
      case 'renew':
        return this.#renew(holder, request);
      case 'settle':
        return this.#settle(holder, request);
      case 'certify':
        return this.#certify(holder, request);
    }
  }

  /** Takes nothing from the origin, so nothing of it is in the journal. */
  async #certify(holder: LeaseHolder, request: Certify): Promise<LeaseAnswer> {
    const { pullerKey } = request;
    const pull = this.#pulls.of(request);
    if (pull === undefined) return waitFor('NotReady', 'pull');
    const { donated, revokedPullers } = pull.distribution;
    const maySign = donated?.signers.has(holder.id) === true && donated.signed.length > 0;
    if (!maySign || revokedPullers.includes(pullerKey)) return waitFor('NotAllowed', 'pull');
    return { outcome: 'certified', certificates: certificatesOf(pull, pullerKey, donated.signed) };
  }

  async #acquire(holder: LeaseHolder, request: Acquire): Promise<LeaseAnswer> {
    const { uid, epoch, mirrors = [] } = request;
    const purpose = request.topUp === undefined ? 'pull' : 'topUp';
    const wait = (reason: WaitReason) => {
      const isQueued = reason === 'ConnectionsInUse' || reason === 'BandwidthInUse';
      const isExhausted = reason === 'TrafficExhausted';
      this.#sharing.waits({ holder: holder.id, uid, epoch, purpose, isQueued, isExhausted });
      return waitFor(reason, purpose);
    };
    const pull = this.#pulls.get(uid);
    if (pull === undefined || pull.distribution.epoch !== epoch || pull.distribution.suspend) {
      return wait('NotReady');
    }
    if (!mayHave(holder, request, pull)) return wait('NotAllowed');
    const now = this.#dependencies.clock.now();
    const isKnown = this.#books.bookFor(pull.distribution.url) !== undefined;
    if (!isKnown || now < pull.unsureUntilMs) return wait('NotReady');
    if (!this.#closeForgotten(holder, request)) return wait('NotReady');
    const sources = sourcesFor(pull.distribution, mirrors, pull.standings, now);
    const refusals = new Map<string | undefined, WaitReason>();
    for (const source of sources) {
      const outcome = await this.#acquireAt(source, pull, holder, request);
      if (typeof outcome === 'string') {
        refusals.set(source.mirror, outcome);
        continue;
      }
      this.#wantsNoMore(sources, source, holder, uid);
      return outcome;
    }
    const refusal = refusals.get(undefined) ?? 'NotReady';
    if (purpose === 'pull' && refusal === 'TrafficExhausted') pull.isExhausted = true;
    return wait(refusal);
  }

  /** A grant, or why there is none. */
  async #acquireAt(
    source: PullSource,
    pull: Pull,
    holder: LeaseHolder,
    request: Acquire,
  ): Promise<LeaseAnswer | WaitReason> {
    const { uid, epoch, pullerKey = '', wantConnections } = request;
    const ask = askOf(request);
    const purpose = ask === undefined ? 'pull' : 'topUp';
    const now = this.#dependencies.clock.now();
    const book = this.#bookOf(source);
    if (book === undefined) return 'NotReady';
    const group = this.#books.groupOf(book);
    for (const each of group.books) each.rollPeriod();
    const pullers = this.#pulls.pullersOf(uid);
    const isOneStream = !pull.distribution.ranges && pullers > 0;
    if (ask === undefined && (pull.pool.free(now) === 0 || isOneStream)) {
      this.#sharing.withdraw(group, holder.id, uid);
      return 'NothingToPull';
    }
    const leaseId = this.#dependencies.newLeaseId();
    const room = this.#room(group, pull, ask, leaseId);
    const { report } = this.#dependencies;
    if (room.bytes <= 0) {
      this.#sharing.withdraw(group, holder.id, uid);
      if (room.reason === 'TrafficExhausted') report.trafficRefused(group);
      return room.reason;
    }
    const claim = this.#want(group, holder, uid, request, purpose, false);
    const terms = this.#sharing.terms(group, claim, streamOf(pull), undefined);
    // Others are to come down, for it or for what it did not get.
    this.#dependencies.changed(book);
    if (terms === undefined) return scarceIn(group);
    const { rateBytesPerSecond } = terms;
    const { sequence } = request;
    const work = { leaseId, sequence, rateBytesPerSecond, usedBytes: 0, pullers: pullers + 1 };
    const maxBytes = this.#fill(pull, work, ask, room.bytes);
    const extents = workOf(pull, leaseId);
    if (maxBytes === undefined || extents.length === 0) {
      release(pull, leaseId);
      this.#sharing.withdraw(group, holder.id, uid);
      const reason = maxBytes === undefined ? room.reason : 'NothingToPull';
      if (reason === 'TrafficExhausted') report.trafficRefused(group);
      return reason;
    }
    report.granted(group);
    this.#sharing.waitsNoMore(holder.id, uid);
    if (ask === undefined) pull.isExhausted = false;
    if (ask !== undefined) this.#turns.set(leaseId, now);
    const { mirror } = source;
    if (mirror !== undefined) pull.mirrorsUsed.add(source.url);
    const lease = {
      leaseId,
      holder: holder.id,
      sequence,
      uid,
      epoch,
      pullerKey,
      wantConnections,
      ...(ask !== undefined && { purpose: 'topUp' as const }),
      ...(mirror !== undefined && { mirror }),
    };
    const full = { ...terms, maxBytes };
    await book.grant({ ...lease, terms: full, extents });
    return { outcome: 'granted', grant: grantOf(pull, lease, 1, full, extents) };
  }

  /** Throws when nobody may ask at the source; a mirror is done without. */
  #bookOf({ mirror, url }: PullSource): OriginBook | undefined {
    if (mirror === undefined) return this.#books.bookFor(url);
    try {
      return this.#books.bookFor(url);
    } catch (error) {
      if (error instanceof LeaseError) return undefined;
      throw error;
    }
  }

  /** It takes from one at a time: what it wanted of the others is for who waits there. */
  #wantsNoMore(
    sources: readonly PullSource[],
    taken: PullSource,
    { id }: LeaseHolder,
    uid: string,
  ): void {
    const groupAt = ({ url }: PullSource) => {
      const book = this.#books.known(url);
      return book && this.#books.groupOf(book);
    };
    const key = groupAt(taken)?.key;
    for (const source of sources) {
      const group = source === taken ? undefined : groupAt(source);
      if (group !== undefined && group.key !== key) this.#sharing.withdraw(group, id, uid);
    }
  }

  async #renew(holder: LeaseHolder, request: Renew): Promise<LeaseAnswer> {
    const { leaseId } = request;
    const found = this.#books.find(leaseId);
    // A leader that has only begun does not know of it yet.
    if (found === undefined && !this.#books.isComplete) return waitFor('NotReady', 'pull');
    if (found === undefined || found.lease.holder !== holder.id || found.lease.expired) {
      return { outcome: 'gone' };
    }
    const { book, lease } = found;
    const { uid, wantConnections, purpose = 'pull' } = lease;
    const { sequence } = request;
    // Its holder has given it up and asked again: what it knew is not so any more.
    if (sequence < (this.#sequences.get(leaseId) ?? 0)) return waitFor('NotReady', purpose);
    this.#sequences.set(leaseId, sequence);
    const usedBytes = this.#use(holder, book, lease, request);
    const pull = this.#pulls.of(lease);
    if (pull === undefined || pull.distribution.suspend) return waitFor('NothingToPull', purpose);
    if (pull.distribution.revokedPullers.includes(lease.pullerKey)) return { outcome: 'gone' };
    // Origins divide its host otherwise now: it goes on under a new lease, counted where it belongs.
    // So does one for a mirror that is none any more.
    const url = urlOfLease(pull.distribution, lease.mirror);
    if (url === undefined || this.#books.known(url) !== book) return waitFor('NotReady', purpose);
    if (usedBytes > 0) pull.standings.delivered(lease.mirror);
    if (purpose === 'topUp') pull.topUps.progress(leaseId, request.unfinished);
    else pull.pool.progress(leaseId, holder.id, request.unfinished, request.heard);
    const group = this.#books.groupOf(book);
    const claim = this.#want(group, holder, uid, { ...request, wantConnections }, purpose, true);
    const before = lease.versions.at(-1) as LeaseRecord['versions'][number];
    // While not all is known that counts there, it goes on as it is: nothing may be raised.
    const isWhole = this.#books.isWhole(book);
    const terms = isWhole ? this.#sharing.terms(group, claim, streamOf(pull), lease) : undefined;
    if (terms === undefined && isOver(group)) return waitFor(scarceIn(group), purpose);
    const { rateBytesPerSecond } = terms ?? before;
    const pullers = this.#pulls.pullersOf(uid);
    const work = { leaseId, sequence, rateBytesPerSecond, usedBytes, pullers };
    const now = this.#dependencies.clock.now();
    const ask = purpose === 'topUp' ? (askOf(request) ?? NO_MORE) : undefined;
    const room = this.#room(group, pull, ask, leaseId);
    // Without a share it finishes what it has, and its place is another's turn.
    const takesMore =
      terms !== undefined && now >= pull.unsureUntilMs && !this.#isTurnOver(group, lease);
    const enough = isWhole ? budgetOf(pull, work) : before.maxBytes;
    const maxBytes = takesMore ? this.#fill(pull, work, ask, room.bytes) : enough;
    const extents = workOf(pull, leaseId);
    if (extents.length === 0) return waitFor('NothingToPull', purpose);
    if (maxBytes === undefined || maxBytes > room.bytes) return waitFor(room.reason, purpose);
    const next = renewedTerms(before, { ...(terms ?? before), maxBytes }, room.bytes);
    // Only what is smaller is to be acknowledged: the larger counts as soon as it is granted.
    const version = isWithin(before, next) ? before.version : before.version + 1;
    const acknowledged = Math.min(request.version, before.version);
    const isSmaller = lease.versions.some((each) => each.version < acknowledged);
    pull.pool.named(leaseId, sequence);
    await book.commit({ kind: 'renew', leaseId, version, acknowledged, terms: next, extents });
    if (isSmaller) {
      this.#sharing.wake();
      this.#dependencies.changed(book);
    }
    return { outcome: 'granted', grant: grantOf(pull, lease, version, next, extents) };
  }

  async #settle(holder: LeaseHolder, request: Settle): Promise<LeaseAnswer> {
    const { leaseId, failure, heard, unfinished, unproven } = request;
    const found = this.#books.find(leaseId);
    if (found === undefined) {
      // Closed already, and charged whole; if that is certain. Who is told so says no more of it:
      // what may be open still is to be in the journal, also in one that cannot be read now.
      await this.#books.certain(unproven === undefined ? 'readable' : 'all');
      return { outcome: 'settled' };
    }
    if (found.lease.holder !== holder.id) return { outcome: 'settled' };
    if (found.lease.settled) {
      await found.book.flushed();
      return { outcome: 'settled' };
    }
    const { book, lease } = found;
    const pull = this.#pulls.of(lease);
    if (pull !== undefined) {
      const isRevoked = pull.distribution.revokedPullers.includes(lease.pullerKey);
      if (lease.purpose !== 'topUp' && !isRevoked) {
        pull.pool.progress(leaseId, holder.id, unfinished, heard);
        const now = this.#dependencies.clock.now();
        if (failure !== undefined) pull.standings.failed(lease.mirror, failure, now);
      }
    }
    // Who failed waits by itself; its share is free meanwhile.
    this.#sharing.withdraw(this.#books.groupOf(book), holder.id, lease.uid);
    const usedBytes = this.#use(holder, book, lease, request);
    await book.settle(leaseId, usedBytes, unproven && unprovenOf(lease, unproven));
    this.#dependencies.changed(book);
    return { outcome: 'settled' };
  }

  /** What the lease has used by all that its holder says; who contradicts himself is shown. */
  #use(holder: LeaseHolder, book: OriginBook, lease: LeaseRecord, request: Renew | Settle): number {
    const { used, meters, observe } = this.#dependencies;
    const { disagreement, chargedBytes } = used.report(lease, request);
    if (disagreement !== undefined) {
      meters.note(book, { holder: holder.name ?? holder.id, ...disagreement });
      observe({ kind: 'disagreed', reason: disagreement.reason });
    }
    return chargedBytes;
  }

  /** Answers what the lease may take; undefined: too little is left for anything. */
  #fill(pull: Pull, work: Work, ask: TopUpAsk | undefined, bytes: number): number | undefined {
    if (ask === undefined) return fill(pull, work, bytes, this.#dependencies.clock.now());
    return fillTopUp(pull, work, ask, { bytes, start: this.#dependencies.random.next() });
  }

  /**
   * A holder asks for one lease an epoch at a time, and says before how those ended that it had
   * (leaseClient.ts): one that is open has not reached it, because the answer was lost. False: this
   * request comes late, or again, and what it or a later one was granted may be in use.
   */
  #closeForgotten(holder: LeaseHolder, { uid, epoch, sequence }: Acquire): boolean {
    const own = [...this.#books.all()].flatMap((book) =>
      [...book.ledger.leases.values()]
        .filter((lease) => lease.holder === holder.id && lease.uid === uid && lease.epoch === epoch)
        .filter(({ settled }) => !settled)
        .map((lease) => ({ book, lease })),
    );
    if (own.some((each) => (each.lease.sequence ?? 0) >= sequence)) return false;
    for (const { book, lease } of own) book.closeLease(lease.leaseId).catch(() => {});
    return true;
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
    // Wherever they took it: of mirrors, too.
    const taken = [...this.#books.all()].reduce(
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
    return this.#sharing.isTurnOver(group, this.#dependencies.clock.now() - sinceMs);
  }

  /** That lease is over. */
  forget(leaseId: string): void {
    this.#turns.delete(leaseId);
    this.#sequences.delete(leaseId);
  }

  clear(): void {
    this.#turns.clear();
    this.#sequences.clear();
  }
}

function waitFor(reason: WaitReason, purpose: 'pull' | 'topUp'): LeaseAnswer {
  const isCalled = reason === 'ConnectionsInUse' || reason === 'BandwidthInUse';
  const retryAfterMs = purpose === 'topUp' && isCalled ? TOP_UP_WAIT_MS : WAIT_MS[reason];
  return { outcome: 'wait', reason, retryAfterMs };
}

function streamOf({ distribution, sizeBytes }: Pull): { sizeBytes: number } | undefined {
  return distribution.ranges ? undefined : { sizeBytes };
}
