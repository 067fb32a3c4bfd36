/**
 * Who gets how much of each origin now, who waits, and who is called when something becomes free.
 * What it knows is gone with its leader; holders say again what they want.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { LeaseAnswer } from '@sluice/protocol/messages.ts';
import {
  MIN_RATE_BYTES_PER_SECOND,
  type PurposedClaim,
  type Share,
  sharesByPurpose,
} from './allocate.ts';
import { Claims, claimId, type Want } from './claims.ts';
import type { LeaseRecord } from './ledger.ts';
import { groupUsage, type HostGroup } from './originBooks.ts';
import type { Probes } from './probes.ts';
import { type RateTerms, type Room, rateTerms, steady } from './terms.ts';

export interface Waiting {
  readonly holder: string;
  readonly uid: string;
  readonly epoch: number;
  readonly purpose: Want['purpose'];
  /** For its turn; otherwise for something about its distribution to change. */
  readonly isQueued: boolean;
}

export interface SharingDependencies {
  readonly clock: Clock;
  readonly probes: Probes;
  /** Hosts that share limits with this distribution's source; undefined while that is not known. */
  readonly groupOf: (uid: string) => HostGroup | undefined;
  /** Tells a holder to ask now. */
  readonly ask: (waiting: Waiting) => void;
}

/** For nodes that wait, at one group of hosts. */
interface Places {
  left: number;
  readonly shares: ReadonlyMap<string, Share>;
}

/** Who is called and does not ask within this time does not want any more. */
const CALLED_MS = 1_500;
/** A node keeps what it has for so long, though others wait. */
const TURN_MS = 1_000;

export class Sharing {
  readonly #dependencies: SharingDependencies;
  /** By group of hosts. */
  readonly #claims = new Map<string, Claims>();
  /** By claim. */
  readonly #waiting = new Map<string, Waiting>();
  /** When nodes were called that have not asked since, by claim. */
  readonly #called = new Map<string, { readonly atMs: number; readonly group: string }>();
  #timer: Timer | undefined;

  constructor(dependencies: SharingDependencies) {
    this.#dependencies = dependencies;
  }

  clear(): void {
    this.#claims.clear();
    this.#waiting.clear();
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
    for (const [id, waiting] of this.#waiting) {
      if (waiting.holder !== holder) continue;
      this.#waiting.delete(id);
      this.#called.delete(id);
    }
    this.wake();
  }

  waits(waiting: Waiting): void {
    const id = claimId(waiting.holder, waiting.uid);
    this.#called.delete(id);
    this.#waiting.set(id, waiting);
  }

  waitsNoMore(holder: string, uid: string): void {
    this.#waiting.delete(claimId(holder, uid));
  }

  /** Undefined: nothing for this claim now. */
  terms(
    group: HostGroup,
    claim: PurposedClaim,
    stream: { readonly sizeBytes: number } | undefined,
    lease: LeaseRecord | undefined,
  ): RateTerms | undefined {
    const all = this.#free(group);
    const share = this.#shares(group).get(claim.id);
    if (share === undefined) return undefined;
    const others = groupUsage(group.books, lease?.leaseId);
    const room: Room = {
      windowBytes: all.windowBytes - others.windowBytes,
      connections: all.connections - others.connections,
    };
    const terms = rateTerms(claim, share, room, stream);
    const before = lease?.versions.at(-1);
    return terms === undefined || before === undefined ? terms : steady(before, terms, room);
  }

  /** Whether a node that has had `heldMs` is to leave its place to another. */
  isTurnOver(group: HostGroup, heldMs: number): boolean {
    if (heldMs < TURN_MS) return false;
    const shares = this.#shares(group);
    return this.#active(group).some(
      ({ id, purpose }) => purpose === 'topUp' && (shares.get(id)?.connections ?? 0) < 1,
    );
  }

  /**
   * Something became free: pullers that wait are to ask now, and of the nodes as many as there is
   * room for. With `uid`, something about that distribution has changed: who waits for it, and not
   * for its turn, is to ask, too.
   */
  wake(uid?: string): void {
    const { clock } = this.#dependencies;
    for (const [id, waiting] of this.#waiting) {
      const isMeant = uid === undefined || waiting.uid === uid;
      const isInTurn = waiting.purpose === 'topUp' && (uid === undefined || waiting.isQueued);
      if (isMeant && !isInTurn) this.#call(id, waiting);
    }
    this.#forgetAbsent(clock.now());
    const places = new Map<string, Places>();
    for (const [id, waiting] of this.#waiting) {
      if (waiting.purpose === 'topUp' && !this.#called.has(id))
        this.#callInTurn(id, waiting, places);
    }
    if (this.#called.size > 0) this.#lookAgain();
  }

  /** Nodes that were called and did not come. */
  #forgetAbsent(nowMs: number): void {
    for (const [id, { atMs, group }] of this.#called) {
      if (nowMs - atMs <= CALLED_MS) continue;
      this.#called.delete(id);
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (waiting !== undefined) this.#claimsOf(group).delete(waiting.holder, waiting.uid);
    }
  }

  #callInTurn(id: string, waiting: Waiting, known: Map<string, Places>): void {
    const group = this.#dependencies.groupOf(waiting.uid);
    if (group === undefined) return;
    const places = known.get(group.key) ?? this.#placesIn(group);
    known.set(group.key, places);
    const share = places.shares.get(id);
    if (places.left < 1 || share === undefined || share.connections < 1) return;
    if (share.rateBytesPerSecond < MIN_RATE_BYTES_PER_SECOND) return;
    places.left -= 1;
    this.#called.set(id, { atMs: this.#dependencies.clock.now(), group: group.key });
    this.#dependencies.ask(waiting);
  }

  #placesIn(group: HostGroup): Places {
    const used = groupUsage(group.books);
    const free = this.#free(group);
    const called = [...this.#called.values()].filter((each) => each.group === group.key);
    const isRoom = used.windowBytes < free.windowBytes;
    const left = isRoom ? free.connections - used.connections - called.length : 0;
    return { left, shares: this.#shares(group) };
  }

  #call(id: string, waiting: Waiting): void {
    this.#waiting.delete(id);
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

  #active({ key, books }: HostGroup): PurposedClaim[] {
    const leases = books.flatMap(({ ledger }) => [...ledger.leases.values()]);
    return this.#claimsOf(key).active(leases, this.#dependencies.clock.now());
  }

  /** What the limits allow, without what the operator's own requests wait for. */
  #free({ key, limits }: HostGroup): Room {
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

/** Why there is nothing for one who wants something. */
export function scarceIn({
  limits,
  books,
}: HostGroup): Extract<LeaseAnswer, { outcome: 'wait' }>['reason'] {
  const { connections } = groupUsage(books);
  return connections >= limits.connections ? 'ConnectionsInUse' : 'BandwidthInUse';
}
