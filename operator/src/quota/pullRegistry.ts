import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { PullTrouble } from '../controllers/dataSide.ts';
import { trafficExhausted } from './exhaustion.ts';
import type { LeasedDistribution } from './leases.ts';
import { chargeOf, type LeaseRecord } from './ledger.ts';
import type { OriginBook } from './originBook.ts';
import type { HostGroup, OriginBooks } from './originBooks.ts';
import { newPull, type Pull, release } from './pulls.ts';

export interface PullRegistryDependencies {
  readonly clock: Clock;
  readonly books: OriginBooks;
  /** Holders who wait for something of this distribution may find it now. */
  readonly wake: (uid: string) => void;
  /** Whether a relay runs whose word is missing. */
  readonly isRelayAway: () => boolean;
}

/** After a change of leaders: until relays have said what they hold, nothing of it is given. */
const UNSURE_MS = 1_500;
/**
 * Nor until one that runs is back, which may have waited for the address of the leader before; but
 * one that cannot come keeps nobody waiting for longer.
 */
const LONGEST_UNSURE_MS = 7_000;
const LOOK_MS = 250;
/** What pullers say of an origin that answers, and not as it should. */
const BAD_ANSWERS: ReadonlySet<string> = new Set(['SourceRefused', 'BadContentRange']);

/**
 * What is taken from origins now, and who has which of its pieces: by leases, by the reports of
 * relays, and never by the word of a revoked puller.
 */
export class PullRegistry {
  readonly #dependencies: PullRegistryDependencies;
  readonly #pulls = new Map<string, Pull>();

  constructor(dependencies: PullRegistryDependencies) {
    this.#dependencies = dependencies;
  }

  get(uid: string): Pull | undefined {
    return this.#pulls.get(uid);
  }

  /** Of the lease's epoch, if that is the one that is pulled. */
  of({ uid, epoch }: Pick<LeaseRecord, 'uid' | 'epoch'>): Pull | undefined {
    const pull = this.#pulls.get(uid);
    return pull?.distribution.epoch === epoch ? pull : undefined;
  }

  /** Why nothing of this epoch is pulled at the moment, when that is the origin's doing. */
  troubleOf(uid: string, epoch: number): PullTrouble | undefined {
    const pull = this.of({ uid, epoch });
    if (pull === undefined) return undefined;
    const book = this.#dependencies.books.known(pull.distribution.url);
    if (pull.isExhausted && book?.limits.traffic !== undefined) {
      return { code: 'QuotaExhausted', ...trafficExhausted(book) };
    }
    const { mirrors = [] } = pull.distribution;
    const failure = pull.standings.failureOf(undefined);
    // Then a mirror may give what the source does not.
    if (mirrors.some(({ id }) => pull.standings.failureOf(id) === undefined)) return undefined;
    if (failure === undefined || failure.reason === 'SourceChanged') return undefined;
    const { message, httpStatus, reason } = failure;
    if (httpStatus !== undefined) return { code: 'HttpStatus', message, httpStatus };
    return { code: BAD_ANSWERS.has(reason) ? 'BadAnswer' : 'Unreachable', message };
  }

  /** URLs of mirrors that bytes of this epoch may have come from; those that are none any more, too. */
  suspectMirrors(uid: string, epoch: number): readonly string[] {
    const pull = this.of({ uid, epoch });
    if (pull === undefined) return [];
    const { mirrors = [] } = pull.distribution;
    const all = pull.isInherited ? mirrors.map(({ url }) => url) : [];
    return [...new Set([...pull.mirrorsUsed, ...all])];
  }

  groupOf(uid: string): HostGroup | undefined {
    const { books } = this.#dependencies;
    const pull = this.#pulls.get(uid);
    const book = pull && books.known(pull.distribution.url);
    return book && books.groupOf(book);
  }

  pullersOf(uid: string): number {
    let count = 0;
    for (const { ledger } of this.#dependencies.books.all()) {
      for (const lease of ledger.leases.values()) {
        const isPuller = lease.purpose !== 'topUp' && lease.extents.length > 0;
        if (lease.uid === uid && !lease.expired && isPuller) count += 1;
      }
    }
    return count;
  }

  set(distribution: LeasedDistribution): void {
    const { uid, epoch } = distribution;
    const known = this.#pulls.get(uid);
    const pull = newPull(distribution, known, this.#dependencies.clock.now());
    this.#pulls.set(uid, pull);
    pull.pool.keep(distribution.donated?.kept ?? []);
    pull.standings.keepOnly(distribution.mirrors?.map(({ id }) => id) ?? []);
    const before = known?.distribution.epoch === epoch ? known.distribution.revokedPullers : [];
    if (distribution.revokedPullers.length > before.length) this.#revoke(pull);
    if (known?.distribution.epoch !== epoch) {
      for (const book of this.#dependencies.books.all()) this.#restore(uid, book);
    }
    this.#prepare(distribution);
    // The same is said with every look at the distribution; who waits knows it already.
    if (!isDeepStrictEqual(distribution, known?.distribution)) this.#dependencies.wake(uid);
  }

  remove(uid: string): void {
    this.#pulls.delete(uid);
  }

  /** What a process holds by its report, and its peers; undefined when that process is gone. */
  setHeld(
    uid: string,
    epoch: number,
    holder: string,
    bitfield: Uint8Array | undefined,
    spread?: Uint8Array,
  ): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined || pull.distribution.epoch !== epoch) return;
    const now = this.#dependencies.clock.now();
    if (bitfield !== undefined) pull.pool.report(holder, bitfield, spread, now);
    else if (pull.pool.forget(holder, now)) this.#dependencies.wake(uid);
  }

  /** The journals of all that is pulled are fenced before anybody waits for them. */
  prepare(): void {
    for (const { distribution } of this.#pulls.values()) this.#prepare(distribution);
  }

  #prepare({ url, mirrors = [] }: LeasedDistribution): void {
    const { books } = this.#dependencies;
    for (const each of [url, ...mirrors.map((mirror) => mirror.url)]) books.prepare(each);
  }

  /** A journal was read: its leases are known. */
  restoreFrom(book: OriginBook): void {
    for (const uid of this.#pulls.keys()) this.#restore(uid, book);
  }

  release({ leaseId, uid }: LeaseRecord): void {
    const pull = this.#pulls.get(uid);
    if (pull !== undefined) release(pull, leaseId);
  }

  /** Who has what is forgotten; what is to be pulled is not. */
  reset(): void {
    const now = this.#dependencies.clock.now();
    for (const [uid, { distribution }] of this.#pulls) {
      const { donated, ...rest } = distribution;
      this.#pulls.set(uid, newPull(rest, undefined, now));
    }
  }

  /**
   * What a revoked puller has signed is to be pulled again, and by others. Which pieces these are the
   * relays' next reports tell, which leave out what nobody else has signed. Its leases end by
   * themselves: what it has asked the origin for still comes.
   */
  #revoke(pull: Pull): void {
    const { uid, epoch, revokedPullers } = pull.distribution;
    pull.pool.forgetHeld();
    this.#beUnsure(pull.distribution, this.#dependencies.clock.now());
    for (const { ledger } of this.#dependencies.books.all()) {
      for (const lease of ledger.leases.values()) {
        if (lease.uid !== uid || lease.epoch !== epoch) continue;
        if (revokedPullers.includes(lease.pullerKey)) release(pull, lease.leaseId);
      }
    }
  }

  /** Whoever is told to wait meanwhile is called at its end. */
  #beUnsure(distribution: LeasedDistribution, sinceMs: number): void {
    const { clock, wake, isRelayAway } = this.#dependencies;
    // Asked for each time: who says the distribution once more makes it anew.
    const pull = this.of(distribution);
    if (pull === undefined) return;
    const nowMs = clock.now();
    const lookAtMs = isRelayAway() ? Math.min(nowMs + LOOK_MS, sinceMs + LONGEST_UNSURE_MS) : nowMs;
    const untilMs = Math.max(sinceMs + UNSURE_MS, lookAtMs);
    if (untilMs <= nowMs) return;
    // A puller may have been revoked meanwhile: then it takes longer.
    pull.unsureUntilMs = Math.max(pull.unsureUntilMs, untilMs);
    clock.setTimer(untilMs - nowMs, () => {
      this.#beUnsure(distribution, sinceMs);
      const thenMs = this.of(distribution)?.unsureUntilMs ?? 0;
      if (thenMs <= clock.now()) wake(distribution.uid);
    });
  }

  /** What leases of an earlier leader have, nobody else gets until they are over. */
  #restore(uid: string, { ledger, isOpen }: OriginBook): void {
    const pull = this.#pulls.get(uid);
    if (pull === undefined || !isOpen) return;
    const leases = [...ledger.leases.values()].filter((lease) => this.of(lease) === pull);
    if (chargeOf(ledger, uid).epoch === pull.distribution.epoch || leases.length > 0) {
      // Not from now on: reports came while the journal was read, and a long one takes its time.
      this.#beUnsure(pull.distribution, pull.heardSinceMs);
      pull.isInherited = true;
    }
    for (const { leaseId, extents, expired, purpose } of leases) {
      if (expired) continue;
      if (purpose === 'topUp') pull.topUps.restore(leaseId, extents);
      else pull.pool.restore(leaseId, extents);
    }
  }
}
