/**
 * One leader among the replicas, by a Lease of coordination.k8s.io.
 *
 * Wall clocks are never compared: a candidate takes the Lease over when it has not seen it change
 * for its whole duration on its own monotonic clock, and a leader steps down renewDeadlineMs after
 * it last knew that it was renewed, which is sooner. The API server's optimistic locking
 * (resourceVersion) lets one of two candidates win.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import { isKubeError, type KubeClient } from './client.ts';
import { listPath, objectPath, resources } from './paths.ts';

export interface LeaderElectionOptions {
  readonly namespace: string;
  readonly name: string;
  /** Another in each process, also of the same pod. */
  readonly identity: string;
  readonly durationMs?: number;
  readonly renewDeadlineMs?: number;
  /** Between renewals of the leader: four fifths of it, or more. */
  readonly intervalMs?: number;
  /** Between looks of the others, likewise. */
  readonly lookMs?: number;
}

/**
 * Whether this process would be of use as the leader. Second: another one is expected, and has the
 * first SECOND_MS of a Lease that is free. Late: only when nobody else wants to be; it leaves the
 * Lease to the others for LATE_MS.
 */
export type Candidacy = 'now' | 'second' | 'late' | 'never';

export interface LeaderElectionDependencies {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  /** Absent: now. */
  candidacy?(): Candidacy;
  /** This process leads. Terms grow with each change of the leader. */
  onStarted(term: number): void;
  /** It does not lead any more; called once, before the Lease is given back. */
  onStopped(reason: 'lost' | 'released'): void | Promise<void>;
  onError(error: unknown): void;
}

interface LeaseObject {
  readonly metadata: { readonly resourceVersion: string; readonly [field: string]: unknown };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
    readonly [field: string]: unknown;
  };
}

/** As in docs/operations.md. */
export const LEADER_ELECTION = {
  durationMs: 10_000,
  renewDeadlineMs: 7_000,
  intervalMs: 1_500,
  lookMs: 1_000,
};
/** Two Lease durations: whoever can lead has looked several times by then. */
export const LATE_MS = 2 * LEADER_ELECTION.durationMs;
/**
 * The last renewal is seen at the next look, so that for whoever leads next the Lease may be over a
 * look later than for the others; and it is the one to which all come, so that its event loop may be
 * late. Where both are gone, the leader and who was to be next, somebody leads so much later.
 */
const SECOND_MS = 2 * LEADER_ELECTION.lookMs;
const WAITS_MS: Readonly<Record<Candidacy, number>> = {
  now: 0,
  second: SECOND_MS,
  late: LATE_MS,
  never: Number.POSITIVE_INFINITY,
};

export class LeaderElection {
  readonly #options: LeaderElectionOptions & typeof LEADER_ELECTION;
  readonly #deps: LeaderElectionDependencies;
  readonly #stop = new AbortController();
  /** The Lease as it was when it was seen to change last, when that was, and when it is anybody's. */
  #seen: { version: string; sinceMs: number; freeAtMs: number } | undefined;
  /** Since when this candidate has found it free at each look. */
  #freeSinceMs: number | undefined;
  /** From when on it may take a Lease that is free. */
  #turnMs = Number.NEGATIVE_INFINITY;
  #leading: { readonly lease: LeaseObject; readonly renewedMs: number } | undefined;
  /** Steps down, also while a renewal waits for its answer. */
  #deadline: Timer | undefined;
  #holder: string | undefined;
  #running: Promise<void> | undefined;

  constructor(options: LeaderElectionOptions, dependencies: LeaderElectionDependencies) {
    this.#options = { ...LEADER_ELECTION, ...options };
    this.#deps = dependencies;
  }

  get isLeader(): boolean {
    return this.#leading !== undefined;
  }

  /** Identity of the leader as last seen; undefined: none, or so silent that it has stepped down. */
  get leader(): string | undefined {
    if (this.isLeader || this.#seen === undefined) return this.#holder;
    const silentMs = this.#deps.clock.now() - this.#seen.sinceMs;
    return silentMs < this.#options.renewDeadlineMs ? this.#holder : undefined;
  }

  /** As last read, however long ago that one has renewed. */
  get holder(): string | undefined {
    return this.#holder;
  }

  /** On the clock: when another's Lease was seen in its newest version for the first time. */
  get renewalSeenMs(): number | undefined {
    return this.#seen?.sinceMs;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Steps down and gives the Lease back, so that another takes it at once. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      // A leader's pause begins with its renewal. Where thousands keep the event loop answers come
      // late, and what is left until the deadline is not to be spent on a pause.
      const pause = this.#leading === undefined ? undefined : this.#sleep();
      try {
        if (this.#leading === undefined) await this.#tryToLead();
        else await this.#renew();
      } catch (error) {
        if (!this.#stop.signal.aborted) this.#deps.onError(error);
      }
      // Whoever has just won renews at once.
      if (pause !== undefined) await pause;
      else if (this.#leading === undefined && !this.#stop.signal.aborted) await this.#sleep();
    }
    if (this.#leading !== undefined) await this.#release(this.#leading.lease);
  }

  async #tryToLead(): Promise<void> {
    const startedMs = this.#deps.clock.now();
    const lease = await this.#read();
    this.#holder = lease?.spec?.holderIdentity || undefined;
    if (lease !== undefined && !this.#isFree(lease)) {
      this.#freeSinceMs = undefined;
      this.#turnMs = Number.NEGATIVE_INFINITY;
      return;
    }
    const nowMs = this.#deps.clock.now();
    this.#freeSinceMs ??= nowMs;
    this.#turnMs = this.#freeSinceMs + WAITS_MS[this.#deps.candidacy?.() ?? 'now'];
    if (nowMs < this.#turnMs) return;
    const term = (lease?.spec?.leaseTransitions ?? 0) + 1;
    const time = microTime();
    const spec = {
      ...lease?.spec,
      holderIdentity: this.#options.identity,
      leaseDurationSeconds: this.#options.durationMs / 1000,
      acquireTime: time,
      renewTime: time,
      leaseTransitions: term,
    };
    try {
      const written =
        lease === undefined ? await this.#create(spec) : await this.#write(lease, spec);
      this.#led(written, startedMs);
    } catch (error) {
      if (isKubeError(error, 'Conflict', 'AlreadyExists')) return;
      throw error;
    }
    this.#holder = this.#options.identity;
    this.#deps.onStarted(term);
  }

  async #renew(): Promise<void> {
    const leading = this.#leading!;
    const startedMs = this.#deps.clock.now();
    try {
      const spec = { ...leading.lease.spec, renewTime: microTime() };
      const written = await this.#write(leading.lease, spec);
      if (this.#leading === leading) this.#led(written, startedMs);
    } catch (error) {
      if (!isKubeError(error, 'Conflict', 'NotFound')) throw error;
      // Our own write whose answer was lost, a foreign edit, or another leader: the Lease tells.
      const lease = await this.#read();
      if (this.#leading !== leading) return;
      if (lease?.spec?.holderIdentity !== this.#options.identity) return this.#lose();
      this.#led(lease, leading.renewedMs);
    }
  }

  #led(lease: LeaseObject, renewedMs: number): void {
    const leading = { lease, renewedMs };
    this.#leading = leading;
    this.#deadline?.cancel();
    const leftMs = renewedMs + this.#options.renewDeadlineMs - this.#deps.clock.now();
    this.#deadline = this.#deps.clock.setTimer(Math.max(0, leftMs), () => {
      if (this.#leading === leading) this.#lose().catch(this.#deps.onError);
    });
  }

  /** True when nobody holds it, or its holder was silent for the whole duration before our eyes. */
  #isFree(lease: LeaseObject): boolean {
    const version = lease.metadata.resourceVersion;
    const nowMs = this.#deps.clock.now();
    if (this.#seen?.version !== version) {
      const durationMs = (lease.spec?.leaseDurationSeconds ?? 0) * 1000;
      this.#seen = { version, sinceMs: nowMs, freeAtMs: nowMs + durationMs };
    }
    const holder = lease.spec?.holderIdentity;
    // Our own: a renewal that was written after we had stepped down.
    return !holder || holder === this.#options.identity || nowMs >= this.#seen.freeAtMs;
  }

  async #lose(): Promise<void> {
    this.#leading = undefined;
    this.#seen = undefined;
    this.#holder = undefined;
    await this.#deps.onStopped('lost');
  }

  async #release(lease: LeaseObject): Promise<void> {
    this.#leading = undefined;
    this.#holder = undefined;
    this.#deadline?.cancel();
    await this.#deps.onStopped('released');
    try {
      await this.#giveBack(lease);
    } catch (error) {
      this.#deps.onError(error);
    }
  }

  async #giveBack(lease: LeaseObject): Promise<void> {
    const free = (of: LeaseObject) =>
      this.#write(of, { ...of.spec, holderIdentity: '', leaseDurationSeconds: 1 }, false);
    try {
      await free(lease);
    } catch (error) {
      if (!isKubeError(error, 'Conflict')) throw error;
      // A renewal that was broken off has been written all the same.
      const newest = await this.#read(false);
      if (newest?.spec?.holderIdentity === this.#options.identity) await free(newest);
    }
  }

  async #read(stoppable = true): Promise<LeaseObject | undefined> {
    try {
      return await this.#deps.client.request<LeaseObject>({
        method: 'GET',
        path: objectPath(resources.leases, this.#options),
        signal: stoppable ? this.#attempt() : lastAttempt(),
      });
    } catch (error) {
      if (isKubeError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  #create(spec: object): Promise<LeaseObject> {
    const { namespace, name } = this.#options;
    const { apiVersion, kind } = resources.leases;
    return this.#deps.client.request({
      method: 'POST',
      path: listPath(resources.leases, namespace),
      body: { apiVersion, kind, metadata: { namespace, name }, spec },
      signal: this.#attempt(),
    });
  }

  #write(lease: LeaseObject, spec: object, stoppable = true): Promise<LeaseObject> {
    return this.#deps.client.request({
      method: 'PUT',
      path: objectPath(resources.leases, this.#options),
      body: { ...lease, spec },
      signal: stoppable ? this.#attempt() : lastAttempt(),
    });
  }

  /** No single try may use up the time in which another could still succeed. */
  #attempt(): AbortSignal {
    const timeout = AbortSignal.timeout(this.#options.renewDeadlineMs / 2);
    return AbortSignal.any([this.#stop.signal, timeout]);
  }

  async #sleep(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#deps.clock.setTimer(this.#delayMs(), resolve);
    const aborted = () => resolve();
    this.#stop.signal.addEventListener('abort', aborted, { once: true });
    await promise;
    timer.cancel();
    this.#stop.signal.removeEventListener('abort', aborted);
  }

  /** A candidate looks again as soon as a leader that is silent has lost the Lease, and in its turn. */
  #delayMs(): number {
    const { intervalMs, lookMs } = this.#options;
    const longestMs = this.#leading === undefined ? lookMs : intervalMs;
    const delayMs = longestMs * (0.8 + 0.2 * this.#deps.random.next());
    const dueInMs = Math.max(this.#seen?.freeAtMs ?? 0, this.#turnMs) - this.#deps.clock.now();
    return this.#leading === undefined && dueInMs > 0 ? Math.min(delayMs, dueInMs) : delayMs;
  }
}

/** Of a process that stops. */
function lastAttempt(): AbortSignal {
  return AbortSignal.timeout(2_000);
}

/** metav1.MicroTime; for people who read the Lease. */
export function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
