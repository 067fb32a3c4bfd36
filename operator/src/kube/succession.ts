/**
 * Who leads next. Among the replicas that do not lead, one whose database answers holds a second
 * Lease, and renews it. The others leave the first one to it, and the leader tells its relays and
 * agents where it is, so that they need not look for it among the replicas.
 *
 * A leader without the database stands back for it, and for nobody else: where somebody renews the
 * second Lease, the database is away for the leader alone. Where it is away for everybody nobody
 * holds it, and the leader stays: transfers go on under it, and the next one could do no more.
 *
 * Over the API server, and not from replica to replica: a node that has lost its way to the pods of
 * the database has often lost that to all pods.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import { isKubeError, type KubeClient } from './client.ts';
import { LeaderElection } from './leaderElection.ts';
import { objectPath, resources } from './paths.ts';

export interface SuccessionOptions {
  readonly namespace: string;
  /** Of the second Lease. */
  readonly name: string;
  /** The same as in the election of the leader. */
  readonly identity: string;
}

export interface SuccessionDependencies {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly isLeader: () => boolean;
  /** It has the database, and serves. */
  readonly couldLead: () => boolean;
  /** On the clock: since when the database does not answer; undefined: it does. */
  readonly awaySinceMs: () => number | undefined;
  /** Somebody else is to lead. Called once. */
  onStandBack(successor: string): void;
  onError(error: unknown): void;
}

/** The holder of the second Lease, as a leader has seen it. On the clock. */
interface Successor {
  readonly identity: string;
  readonly version: string;
  /** The first and the newest renewal that were seen. */
  readonly sinceMs: number;
  readonly renewedMs: number;
}

/** Whoever could lead stands by at once: a rollout deletes the leader as soon as another is ready. */
const STAND_MS = 1_000;
/** Between looks of a leader at the second Lease. */
const LOOK_MS = 5_000;
/** Nobody hurries to take it. */
const ELECTION = {
  durationMs: 15_000,
  renewDeadlineMs: 10_000,
  intervalMs: 4_000,
  lookMs: 4_000,
};
/** A primary that is elected anew, or a pod that is moved, is there again. */
export const AWAY_MS = 30_000;
/**
 * Longer than this replica takes to find that the database is back (a ping of 4 s each 5 s), which
 * the other one may find at once.
 */
const PROVEN_MS = 15_000;
/** What is renewed in time is new at each look. */
const RENEWED_MS = ELECTION.intervalMs + LOOK_MS;

export class Succession {
  readonly #options: SuccessionOptions;
  readonly #deps: SuccessionDependencies;
  #candidate: LeaderElection | undefined;
  #successor: Successor | undefined;
  /** When a leader has read the second Lease. */
  #readMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: SuccessionOptions, dependencies: SuccessionDependencies) {
    this.#options = options;
    this.#deps = dependencies;
  }

  /** As a leader knows it: identity of the replica that leads next, which it has seen to renew. */
  get next(): string | undefined {
    const successor = this.#successor;
    if (successor === undefined || successor.renewedMs === successor.sinceMs) return undefined;
    return isFresh(successor, this.#deps.clock.now()) ? successor.identity : undefined;
  }

  /**
   * Of one that does not lead: another one is to. It may have gone meanwhile, or nobody have been able
   * to renew anything; whoever holds the second Lease then leads next all the same, if he can.
   */
  get isSecond(): boolean {
    const holder = this.#candidate?.holder;
    return holder !== undefined && holder !== this.#options.identity;
  }

  start(): void {
    this.#timer = this.#deps.clock.setTimer(STAND_MS, () => {
      this.#looking = this.#look()
        .catch((error) => this.#deps.onError(error))
        .finally(() => {
          if (!this.#isStopped) this.start();
        });
    });
  }

  /** Gives the second Lease back. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#looking;
    await this.#stand(false);
  }

  async #look(): Promise<void> {
    const { awaySinceMs, clock, couldLead, isLeader, onStandBack } = this.#deps;
    await this.#stand(!isLeader() && couldLead());
    if (!isLeader()) {
      this.#successor = undefined;
      this.#readMs = Number.NEGATIVE_INFINITY;
      return;
    }
    if (clock.now() - this.#readMs < LOOK_MS) return;
    this.#readMs = clock.now();
    const successor = await this.#readSuccessor();
    const sinceMs = awaySinceMs();
    const nowMs = clock.now();
    if (this.#isStopped || successor === undefined || sinceMs === undefined) return;
    if (nowMs - sinceMs < AWAY_MS || !isProven(successor, sinceMs, nowMs)) return;
    this.#isStopped = true;
    onStandBack(successor.identity);
  }

  async #stand(stands: boolean): Promise<void> {
    const before = this.#candidate;
    if (!stands) {
      this.#candidate = undefined;
      await before?.stop();
    } else if (before === undefined) {
      const { client, clock, random, onError } = this.#deps;
      this.#candidate = new LeaderElection(
        { ...this.#options, ...ELECTION },
        { client, clock, random, onError, onStarted: () => {}, onStopped: () => {} },
      );
      this.#candidate.start();
    }
  }

  /** Who holds the second Lease, with what was seen of it before. */
  async #readSuccessor(): Promise<Successor | undefined> {
    const { client, clock } = this.#deps;
    const lease = await client
      .request<{
        readonly metadata: { readonly resourceVersion: string };
        readonly spec?: { readonly holderIdentity?: string };
      }>({
        method: 'GET',
        path: objectPath(resources.leases, this.#options),
        signal: AbortSignal.timeout(LOOK_MS),
      })
      .catch((error) => {
        // No other replica has ever stood by.
        if (isKubeError(error, 'NotFound')) return undefined;
        throw error;
      });
    const identity = lease?.spec?.holderIdentity;
    if (lease === undefined || !identity || identity === this.#options.identity) {
      this.#successor = undefined;
      return undefined;
    }
    const nowMs = clock.now();
    const version = lease.metadata.resourceVersion;
    const known = this.#successor?.identity === identity ? this.#successor : undefined;
    const renewedMs = known?.version === version ? known.renewedMs : nowMs;
    this.#successor = { identity, version, sinceMs: known?.sinceMs ?? nowMs, renewedMs };
    return this.#successor;
  }
}

/**
 * It was seen to renew for long enough since the database is away, and does so still: what a dead one
 * has left is no word.
 */
function isProven({ sinceMs, renewedMs }: Successor, awaySinceMs: number, nowMs: number): boolean {
  const provenMs = renewedMs - Math.max(sinceMs, awaySinceMs);
  return provenMs >= PROVEN_MS && isFresh({ renewedMs }, nowMs);
}

function isFresh({ renewedMs }: Pick<Successor, 'renewedMs'>, nowMs: number): boolean {
  return nowMs - renewedMs <= RENEWED_MS;
}
