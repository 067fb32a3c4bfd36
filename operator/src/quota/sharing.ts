/**
 * Who gets how much of each origin now, who waits, and who is called when something becomes free.
 * What it knows is gone with its leader; holders say again what they want.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { HeldBack, LimitReason } from '../controllers/dataSide.ts';
import {
  MIN_RATE_BYTES_PER_SECOND,
  type PurposedClaim,
  type Share,
  sharesByPurpose,
} from './allocate.ts';
import { type ActiveClaim, Claims, claimId, type Want } from './claims.ts';
import type { LeaseRecord } from './ledger.ts';
import { groupRecent, groupUsage, type HostGroup, isOver } from './originBooks.ts';
import type { Probes } from './probes.ts';
import { type RateTerms, type Room, rateTerms, steady, WORTH_CHANGING } from './terms.ts';
import { type Waiting, WaitingList } from './waitingList.ts';

export interface SharingDependencies {
  readonly clock: Clock;
  readonly probes: Probes;
  /** Hosts that share limits with this distribution's source; undefined while that is not known. */
  readonly groupOf: (uid: string) => HostGroup | undefined;
  /** Tells a holder to ask now. */
  readonly ask: (waiting: Waiting) => void;
}

/** Who is called and does not ask within this time does not want any more. */
const CALLED_MS = 1_500;
/** A node keeps what it has for so long, though others wait. */
const TURN_MS = 1_000;
/**
 * Of nodes that wait so many are looked at, or as many as there are connections: no more than that
 * can be in turn (allocate.ts).
 */
const MOST_IN_TURN = 64;
/** Of what is wanted: a smaller difference is none. */
const NEARLY = 0.95;

export class Sharing {
  readonly #dependencies: SharingDependencies;
  /** By group of hosts. */
  readonly #claims = new Map<string, Claims>();
  readonly #waiting = { pull: new WaitingList(), topUp: new WaitingList() };
  /** When nodes were called that have not asked since, by claim. */
  readonly #called = new Map<string, { readonly atMs: number; readonly group: string }>();
  #timer: Timer | undefined;

  constructor(dependencies: SharingDependencies) {
    this.#dependencies = dependencies;
  }

  clear(): void {
    this.#claims.clear();
    for (const list of this.#lists()) list.clear();
    this.#called.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  want({ key }: HostGroup, want: Omit<Want, 'atMs'>, isHolding: boolean): PurposedClaim {
    this.#called.delete(claimId(want.holder, want.uid));
    const atMs = this.#dependencies.clock.now();
    return this.#claimsOf(key).set({ ...want, atMs }, isHolding);
  }

  withdraw({ key }: HostGroup, holder: string, uid: string): void {
    this.#claimsOf(key).delete(holder, uid);
  }

  /** The process is gone: it wants nothing any more, though its leases count until they are closed. */
  forget(holder: string): void {
    for (const claims of this.#claims.values()) claims.forget(holder);
    this.#dropAll(
      this.#lists().flatMap((list) => list.all().filter((each) => each.holder === holder)),
    );
    this.wake();
  }

  /** The distribution is gone: nobody wants anything of it any more. */
  remove(uid: string): void {
    for (const claims of this.#claims.values()) claims.remove(uid);
    this.#dropAll(this.#lists().flatMap((list) => list.of(uid)));
    this.wake();
  }

  waits(waiting: Waiting): void {
    const { holder, uid, purpose } = waiting;
    this.#called.delete(claimId(holder, uid));
    this.waitsNoMore(holder, uid);
    const now = this.#dependencies.clock.now();
    this.#waiting[purpose].set(waiting, now);
    this.#dropSilent(now);
  }

  waitsNoMore(holder: string, uid: string): void {
    for (const list of this.#lists()) list.delete(claimId(holder, uid));
  }

  /** Undefined: nothing for this claim now. */
  terms(
    group: HostGroup,
    claim: PurposedClaim,
    stream: { readonly sizeBytes: number } | undefined,
    lease: LeaseRecord | undefined,
  ): RateTerms | undefined {
    const all = this.#free(group);
    const active = this.#active(group);
    const share = sharesByPurpose(active, all).get(claim.id);
    if (share === undefined) return undefined;
    const others = groupUsage(group.books, lease?.leaseId);
    const recent = groupRecent(group.books);
    // Of a stream that begins the origin may emit all slack at once; others save it up.
    const isNewStream = stream !== undefined && lease === undefined;
    const taken = isNewStream ? recent.windowBytes : others.windowBytes;
    const before = lease?.versions.at(-1);
    const free = minus(all.windowBytes, others.rateBytesPerSecond + recent.slackBytes);
    const room: Room = {
      windowBytes: minus(all.windowBytes, taken),
      // What a lease has already is no raise.
      rateBytes: Math.max(free, before?.rateBytesPerSecond ?? 0),
      connections: all.connections - others.connections,
    };
    if (lease !== undefined && isOver(group)) {
      return stream === undefined ? shrunk(group, lease, claim, share, room) : undefined;
    }
    const terms = rateTerms(claim, share, room, stream);
    if (terms === undefined || before === undefined) return terms;
    return steady(before, terms, room, worthFalling(active));
  }

  /** Whether a node that has had `heldMs` is to leave its place to another. */
  isTurnOver(group: HostGroup, heldMs: number): boolean {
    if (heldMs < TURN_MS) return false;
    const active = this.#active(group);
    const shares = sharesByPurpose(active, this.#free(group));
    return active.some(
      ({ id, purpose }) => purpose === 'topUp' && (shares.get(id)?.connections ?? 0) < 1,
    );
  }

  /**
   * Something became free: requests of our own come first, then pullers that wait are to ask, and of
   * the nodes as many as fit.
   */
  wake(): void {
    this.#dependencies.probes.wake();
    for (const waiting of this.#waiting.pull.all()) this.#call(waiting);
    this.#callTurns();
  }

  /**
   * Other limits hold, or something about this distribution has changed: who waits, and not for its
   * turn, is to ask.
   */
  reconsider(uid?: string): void {
    this.#dependencies.probes.wake();
    for (const list of this.#lists()) {
      for (const waiting of uid === undefined ? list.all() : list.of(uid)) {
        if (waiting.purpose === 'pull' || !waiting.isQueued) this.#call(waiting);
      }
    }
    this.#callTurns();
  }

  #callTurns(): void {
    const now = this.#dependencies.clock.now();
    this.#forgetAbsent(now);
    this.#dropSilent(now);
    const groups = new Map<string, HostGroup>();
    /** Of distributions. */
    const keys = new Map<string, string>();
    for (const uid of this.#waiting.topUp.uids()) {
      const group = this.#dependencies.groupOf(uid);
      if (group === undefined) continue;
      groups.set(group.key, group);
      keys.set(uid, group.key);
    }
    for (const group of groups.values()) this.#callTurnsIn(group, keys, now);
    if (this.#called.size > 0) this.#lookAgain();
  }

  #callTurnsIn(group: HostGroup, keys: ReadonlyMap<string, string>, nowMs: number): void {
    let left = this.#placesIn(group);
    if (left < 1) return;
    for (const [id, share] of this.#shares(group)) {
      const waiting = this.#waiting.topUp.get(id);
      if (waiting === undefined || this.#called.has(id)) continue;
      if (keys.get(waiting.uid) !== group.key || share.connections < 1) continue;
      if (share.rateBytesPerSecond < MIN_RATE_BYTES_PER_SECOND) continue;
      this.#called.set(id, { atMs: nowMs, group: group.key });
      this.#dependencies.ask(waiting);
      left -= 1;
      if (left < 1) return;
    }
  }

  /** Nodes that were called and did not come. */
  #forgetAbsent(nowMs: number): void {
    for (const [id, { atMs, group }] of this.#called) {
      if (nowMs - atMs <= CALLED_MS) continue;
      this.#called.delete(id);
      const waiting = this.#waiting.topUp.get(id);
      this.#waiting.topUp.delete(id);
      if (waiting !== undefined) this.#claimsOf(group).delete(waiting.holder, waiting.uid);
    }
  }

  /** Those that got what they wanted elsewhere, and say nothing more. */
  #dropSilent(nowMs: number): void {
    const silent = this.#lists().flatMap((list) => list.dropSilent(nowMs));
    for (const { holder, uid } of silent) {
      this.#called.delete(claimId(holder, uid));
      for (const claims of this.#claims.values()) claims.lapse(holder, uid, nowMs);
    }
  }

  #dropAll(gone: readonly Waiting[]): void {
    for (const { holder, uid } of gone) {
      this.waitsNoMore(holder, uid);
      this.#called.delete(claimId(holder, uid));
    }
  }

  #lists(): readonly WaitingList[] {
    return [this.#waiting.pull, this.#waiting.topUp];
  }

  /** Pullers whose share is so far from their lease that a renewal may change it; the farthest first. */
  uneven(group: HostGroup): LeaseRecord[] {
    const active = this.#active(group);
    const shares = sharesByPurpose(active, this.#free(group));
    const least = worthFalling(active);
    const apart: { readonly lease: LeaseRecord; readonly bytes: number }[] = [];
    for (const { ledger } of group.books) {
      for (const lease of ledger.leases.values()) {
        const share = shares.get(claimId(lease.holder, lease.uid))?.rateBytesPerSecond;
        if (lease.purpose !== undefined || lease.expired || share === undefined) continue;
        const rate = lease.versions.at(-1)?.rateBytesPerSecond ?? 0;
        const bytes = Math.abs(share - rate);
        const worth = share < rate ? least : WORTH_CHANGING;
        if (bytes >= worth * rate) apart.push({ lease, bytes });
      }
    }
    return apart.sort((a, b) => b.bytes - a.bytes).map(({ lease }) => lease);
  }

  /** Who waits, by purpose. */
  waiting(): Readonly<Record<Want['purpose'], number>> {
    this.#dropSilent(this.#dependencies.clock.now());
    const count = (list: WaitingList) =>
      list.all().filter(({ isQueued, isExhausted }) => isQueued || isExhausted).length;
    return { pull: count(this.#waiting.pull), topUp: count(this.#waiting.topUp) };
  }

  /** Which distributions get less than they want because of a limit; those that wait first. */
  heldBack(group: HostGroup): HeldBack[] {
    const holding = new Map<string, number>();
    for (const { ledger } of group.books) {
      for (const { holder, uid, versions, expired } of ledger.leases.values()) {
        if (expired) continue;
        holding.set(claimId(holder, uid), versions.at(-1)?.rateBytesPerSecond ?? 0);
      }
    }
    const byUid = new Map<string, HeldBack>();
    const scarce = scarceIn(group);
    for (const { id, uid, wantRateBytesPerSecond: want } of this.#everyone(group)) {
      const rate = holding.get(id) ?? 0;
      if (rate >= want * NEARLY) continue;
      const of = byUid.get(uid) ?? noneHeldBack(uid, scarce);
      byUid.set(uid, {
        ...of,
        waiting: of.waiting + (holding.has(id) ? 0 : 1),
        rateBytesPerSecond: of.rateBytesPerSecond + rate,
        wantRateBytesPerSecond: of.wantRateBytesPerSecond + want,
      });
    }
    for (const [uid, waiting] of this.#exhausted()) {
      if (this.#dependencies.groupOf(uid)?.key !== group.key) continue;
      const of = byUid.get(uid) ?? noneHeldBack(uid, 'TrafficExhausted');
      byUid.set(uid, { ...of, reason: 'TrafficExhausted', waiting: of.waiting + waiting });
    }
    return [...byUid.values()].sort((a, b) => b.waiting - a.waiting);
  }

  /** How many wait for traffic, by distribution. */
  #exhausted(): Map<string, number> {
    this.#dropSilent(this.#dependencies.clock.now());
    const counts = new Map<string, number>();
    for (const { uid, isExhausted } of this.#lists().flatMap((list) => list.all())) {
      if (isExhausted) counts.set(uid, (counts.get(uid) ?? 0) + 1);
    }
    return counts;
  }

  /** For how many nodes there is room, besides those that are called. */
  #placesIn(group: HostGroup): number {
    const used = groupUsage(group.books);
    const free = this.#free(group);
    if (used.windowBytes >= free.windowBytes) return 0;
    const called = [...this.#called.values()].filter((each) => each.group === group.key);
    return free.connections - used.connections - called.length;
  }

  #call(waiting: Waiting): void {
    this.waitsNoMore(waiting.holder, waiting.uid);
    this.#dependencies.ask(waiting);
  }

  #lookAgain(): void {
    this.#timer ??= this.#dependencies.clock.setTimer(CALLED_MS + 1, () => {
      this.#timer = undefined;
      this.wake();
    });
  }

  #shares(group: HostGroup) {
    return sharesByPurpose(this.#active(group), this.#free(group));
  }

  /** Those whose share is not surely nothing. */
  #active(group: HostGroup): ActiveClaim[] {
    return this.#everyone(group, Math.max(MOST_IN_TURN, group.limits.connections));
  }

  #everyone({ key, books }: HostGroup, mostWaiting?: number): ActiveClaim[] {
    const leases = books.flatMap(({ ledger }) => [...ledger.leases.values()]);
    return this.#claimsOf(key).active(leases, this.#dependencies.clock.now(), mostWaiting);
  }

  /** What the limits allow, without what the operator's own requests wait for. */
  #free({ key, limits }: HostGroup): Omit<Room, 'rateBytes'> {
    const reserved = this.#dependencies.probes.reserved(key);
    return {
      windowBytes: Math.max(0, limits.bandwidthBytesPerSecond - reserved.windowBytes),
      connections: Math.max(0, limits.connections - reserved.connections),
    };
  }

  /** Of one host, or of all that an Origin covers. */
  #claimsOf(key: string): Claims {
    let claims = this.#claims.get(key);
    if (claims === undefined) {
      claims = new Claims();
      this.#claims.set(key, claims);
    }
    return claims;
  }
}

/**
 * What of its rate a lease is to give back at least for that to be worth a change. While a puller
 * waits that has none, a little of each of many makes one.
 */
function worthFalling(active: readonly ActiveClaim[]): number {
  const isAwaited = active.some(({ isHolding, purpose }) => purpose === 'pull' && !isHolding);
  return isAwaited ? Math.min(WORTH_CHANGING, 1 / (2 * active.length)) : WORTH_CHANGING;
}

/** Of no limit everything is left, also when it is not known what was leased. */
function minus(limit: number, taken: number): number {
  return limit === Number.POSITIVE_INFINITY ? limit : limit - taken;
}

/**
 * For a lease while more is leased than a limit that was lowered: its share, where that is less
 * than it had, or all that is open fits once the holders have come down to their newest versions.
 * Undefined: it is to end.
 */
function shrunk(
  { limits, books }: HostGroup,
  { leaseId, versions }: LeaseRecord,
  claim: PurposedClaim,
  share: Share,
  room: Room,
): RateTerms | undefined {
  const before = versions.at(-1) as RateTerms;
  const own = before.rateBytesPerSecond + before.slackBytes;
  const terms = rateTerms(
    claim,
    share,
    {
      windowBytes: Math.max(room.windowBytes, own),
      rateBytes: Math.max(room.rateBytes, before.rateBytesPerSecond),
      connections: Math.max(room.connections, before.connections),
    },
    undefined,
  );
  if (terms === undefined) return undefined;
  const next = newestOf(books, leaseId);
  const window = terms.rateBytesPerSecond + terms.slackBytes;
  const fits =
    next.connections + terms.connections <= limits.connections &&
    next.windowBytes + window <= limits.bandwidthBytesPerSecond;
  const isLess = terms.connections < before.connections || window < own * NEARLY;
  return fits || isLess ? terms : undefined;
}

/** Of all but one, when every holder has come down to its newest version. */
function newestOf(books: HostGroup['books'], except: string): Omit<Room, 'rateBytes'> {
  const sum = { windowBytes: 0, connections: 0 };
  for (const { ledger } of books) {
    for (const { leaseId, versions, expired } of ledger.leases.values()) {
      const newest = versions.at(-1);
      if (leaseId === except || newest === undefined) continue;
      sum.windowBytes += (expired ? 0 : newest.rateBytesPerSecond) + newest.slackBytes;
      sum.connections += newest.connections;
    }
  }
  return sum;
}

function noneHeldBack(uid: string, reason: LimitReason): HeldBack {
  return { uid, reason, waiting: 0, rateBytesPerSecond: 0, wantRateBytesPerSecond: 0 };
}

/** Why there is nothing for one who wants something. */
export function scarceIn({ limits, books }: HostGroup): Exclude<LimitReason, 'TrafficExhausted'> {
  const { connections } = groupUsage(books);
  return connections >= limits.connections ? 'ConnectionsInUse' : 'BandwidthInUse';
}
