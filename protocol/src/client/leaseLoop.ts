import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Puller, PullGrant } from '@sluice/engine/session/puller.ts';
import type { Extent, LeaseAnswer, LeaseGrant, PullerCertificate } from '../leaseMessages.ts';
import type { LeaseReply } from './leaseAsking.ts';
import type { LeaseAsk } from './leaseClient.ts';
import { type LeaseState, shouldRenew } from './leaseRenewal.ts';
import { grantAfter, NOTHING_TAKEN, type Taken, takenWith } from './taken.ts';
import { type TaskError, taskErrorOf } from './taskReport.ts';

export interface LeaseLoopOptions {
  readonly uid: string;
  readonly epoch: number;
  readonly pieceLengthBytes: number;
  /** Raw Ed25519 public key, base64, of a process that pulls extents; absent: it tops up. */
  readonly pullerKey?: string;
}

/** What this process would take from the origin now. */
export interface LeaseWant {
  readonly rateBytesPerSecond: number;
  readonly connections: number;
  /** Of top-up alone. */
  readonly topUp?: { readonly acceptable: string; readonly wantBytes: number };
}

/** `mirror`: what it is for; undefined: the source itself. */
export type SourcedGrant = PullGrant & Pick<LeaseGrant, 'mirror'>;

export interface LeaseLoopDependencies {
  readonly client: {
    lease(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply>;
  };
  /** The client's: a grant's life counts from when it was asked for. */
  readonly clock: Clock;
  /** A pull of the grant's extents that is not started; also called with renewed grants. */
  readonly createPuller: (grant: SourcedGrant, requestedAtMs: number) => Puller;
  /** Ids of the mirrors that createPuller can pull from; absent: none. */
  readonly mirrors?: () => readonly string[];
  /** Zero: nothing is wanted. Asked often; mayWant() says that this may have changed. */
  readonly wantedRateBytesPerSecond: () => number;
  /** What to ask for; undefined: nothing, after all. */
  readonly want: () => LeaseWant | undefined;
  /** A certificate for the hashes of what is pulled from now on. */
  readonly certified?: (certificate: PullerCertificate) => void;
  /** Every piece is here: nothing is left to pull. */
  readonly complete: () => boolean;
  /** Why nothing comes from the origin, or a mirror; undefined when bytes come again. */
  readonly onFailure: (error: TaskError | undefined, mirror?: string) => void;
  readonly onProblem: (error: unknown) => void;
}

/** How often the loop looks at a pull: what an origin idles at most when extents run short. */
const LOOK_MS = 25;
/** The same while others wait for what this lease is to give back. */
const SHORT_LOOK_MS = 5;
/** Settling is worth waiting for: unsettled bytes count as spent and connections as open. */
const SETTLE_MS = 5_000;
const ASK_MS = 10_000;
/** A grant that is under way when the work ends is waited for, so that it can be settled. */
const GRACE_MS = 2_000;
/** Without a word from the server, or when the origin was at fault: doubling. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const MAX_UNFINISHED = 256;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** A lease in our hands. */
interface Held {
  /** The newest version. */
  grant: LeaseGrant;
  /** Sequence of the request that it answers. */
  heard: number;
  puller: Puller;
  over: boolean;
  /** Work of a renewal that came when the pull was over already. */
  unbegun: readonly Extent[];
  /** By earlier pulls under this lease. */
  before: Taken;
  /** A version that is smaller than the one before: to be acknowledged when it is kept to. */
  shrunkTo: number;
  state: LeaseState;
  /** What was asked for last. */
  want: LeaseWant;
}

/**
 * Pulls an epoch from its origin under leases: acquire, pull, renew, settle, and again until
 * every piece is here. Everything that is open is closed before a lease is settled, and what the
 * origin may have open all the same is said with it.
 */
export class LeaseLoop {
  readonly #options: LeaseLoopOptions;
  readonly #dependencies: LeaseLoopDependencies;
  #graceful: AbortSignal = new AbortController().signal;
  #wake: () => void = () => {};
  #timeToFirstByteMs: number | undefined;
  /** What the server was told of it last. */
  #toldLatencyMs: number | undefined;
  #failures = 0;
  #asked = false;
  /** Nothing was wanted. */
  #isIdle = false;
  #held: Held | undefined;

  constructor(options: LeaseLoopOptions, dependencies: LeaseLoopDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  /** The server says that there may be something now. */
  askNow(): void {
    this.#asked = true;
    this.#wake();
  }

  /** Something may be wanted that was not. Who waits for the server's word waits on. */
  mayWant(): void {
    if (this.#isIdle) this.askNow();
  }

  /** What the lease in our hands is likely to bring within a second. */
  expectedBytes(): number {
    const held = this.#held;
    if (held === undefined) return 0;
    const left = piecesIn(held.puller.unfinished()) * this.#options.pieceLengthBytes;
    return Math.min(held.grant.rateBytesPerSecond, left);
  }

  /** Until complete or aborted; what is held then is settled. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    this.#graceful = withGrace(this.#dependencies.clock, signal);
    while (!signal.aborted && !this.#dependencies.complete()) {
      let pauseMs: number | undefined;
      this.#asked = false;
      const want = this.#want();
      try {
        if (want !== undefined) pauseMs = await this.#acquire(want, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#dependencies.onProblem(error);
        pauseMs = this.#nextPauseMs();
      }
      await this.#pause(pauseMs, signal);
    }
  }

  /** One lease from beginning to end; answers how long to wait before the next. */
  async #acquire(want: LeaseWant, signal: AbortSignal): Promise<number> {
    const { uid, epoch, pullerKey } = this.#options;
    const mirrors = this.#dependencies.mirrors?.() ?? [];
    const reply = await this.#dependencies.client.lease(
      {
        op: 'acquire',
        uid,
        epoch,
        ...(pullerKey !== undefined && { pullerKey }),
        ...(mirrors.length > 0 && { mirrors: [...mirrors] }),
        ...(want.topUp !== undefined && { topUp: want.topUp }),
        wantConnections: want.connections,
        wantRateBytesPerSecond: want.rateBytesPerSecond,
        ...this.#latency(),
      },
      ASK_MS,
      this.#graceful,
    );
    const { answer } = reply;
    switch (answer.outcome) {
      case 'wait':
        return answer.retryAfterMs;
      case 'settled':
      case 'certified':
      case 'gone':
        return this.#nextPauseMs();
      case 'granted':
        try {
          return await this.#hold(answer.grant, reply, want, signal);
        } finally {
          this.#held = undefined;
        }
    }
  }

  async #hold(
    grant: LeaseGrant,
    { requestedAtMs, sequence }: LeaseReply,
    want: LeaseWant,
    signal: AbortSignal,
  ): Promise<number> {
    let puller: Puller;
    try {
      puller = this.#dependencies.createPuller(grant, requestedAtMs);
    } catch (error) {
      // The task names what it is for no more.
      await this.#giveBack(grant);
      throw error;
    }
    this.#certified(grant);
    const held: Held = {
      grant,
      heard: sequence,
      want,
      puller,
      over: false,
      unbegun: [],
      before: NOTHING_TAKEN,
      shrunkTo: 0,
      state: {
        acknowledged: grant.version,
        requestedAtMs,
        ttlMs: grant.ttlMs,
        futileAt: undefined,
      },
    };
    this.#held = held;
    for (;;) {
      held.puller.start();
      const end = await this.#pull(held, signal);
      await held.puller.close();
      this.#timeToFirstByteMs = held.puller.timeToFirstByteMs() ?? this.#timeToFirstByteMs;
      if (end === 'gone') {
        // What was left open, and what was used, is still to be said.
        await this.#settle(held);
        return FIRST_PAUSE_MS;
      }
      if (end.kind === 'failed') {
        const error = taskErrorOf(end.error);
        this.#dependencies.onFailure(error, held.grant.mirror);
        const { httpStatus } = end.error;
        await this.#settle(held, { ...error, ...(httpStatus !== undefined && { httpStatus }) });
        return this.#nextPauseMs();
      }
      if (held.puller.usedBytes() > 0) this.#recovered();
      const over = signal.aborted || this.#dependencies.complete();
      if (over || !(await this.#extend(held, end.kind === 'completed'))) {
        await this.#settle(held);
        return 0;
      }
    }
  }

  /** Until the pull has ended, renewing the lease meanwhile. */
  async #pull(held: Held, signal: AbortSignal): Promise<Awaited<Puller['ended']> | 'gone'> {
    const { clock } = this.#dependencies;
    const { puller } = held;
    const over = new AbortController();
    let ended: Awaited<Puller['ended']> | undefined;
    let gone = false;
    let renewing: Promise<void> | undefined;
    const finished = puller.ended.then((end) => {
      ended = end;
      held.over = true;
      over.abort();
    });
    const stop = AbortSignal.any([signal, over.signal]);
    // Others wait for what it gives back.
    const isShrunk = () => held.state.acknowledged < held.shrunkTo;
    // Its own timer stands still while a machine sleeps; what was under way would go on after that.
    const isOver = () => clock.now() >= held.state.requestedAtMs + held.state.ttlMs;
    while (ended === undefined && !gone && !signal.aborted && !isOver()) {
      const look = { ...held.state, nowMs: clock.now() };
      const isDue = renewing === undefined && shouldRenew(look, this.#extentsOf(held));
      // A place that is lost stays lost under this lease: the next one has all that there are.
      if (isDue && puller.unproven().connections > 0) break;
      if (isDue) {
        renewing = this.#renew(held)
          .then((answer) => {
            gone = answer.outcome === 'gone' || answer.outcome === 'settled';
          }, this.#dependencies.onProblem)
          .finally(() => {
            renewing = undefined;
            if (isShrunk()) this.#wake();
          });
      }
      const isCalled = this.#asked && this.#isWanted && renewing === undefined;
      await this.#sleep(isCalled || isShrunk() ? SHORT_LOOK_MS : LOOK_MS, stop);
    }
    // Nothing more is asked of the origin while the server answers what is under way.
    if (ended === undefined) await puller.close();
    await finished;
    await renewing;
    if (gone) return 'gone';
    return ended ?? { kind: 'stopped', reason: 'closed' };
  }

  /** The server's answer, taken over. */
  async #renew(held: Held): Promise<LeaseAnswer> {
    const { puller, state } = held;
    this.#asked = false;
    // What is under way is finished, also when nothing more is wanted.
    const { topUp: last, ...rest } = held.want;
    const enough = last === undefined ? rest : { ...rest, topUp: { ...last, wantBytes: 0 } };
    held.want = this.#want() ?? enough;
    const { rateBytesPerSecond, topUp } = held.want;
    const unfinished = this.#unfinished(held);
    // A smaller grant is acknowledged when what is under way has come down to it.
    if (puller.fitsGrant()) state.acknowledged = held.grant.version;
    const leftMs = state.requestedAtMs + state.ttlMs - this.#dependencies.clock.now();
    // Should the answer be lost, the next attempt is a third of a life away, not at once.
    state.triedAtMs = this.#dependencies.clock.now();
    const { answer, requestedAtMs, sequence } = await this.#dependencies.client.lease(
      {
        op: 'renew',
        leaseId: held.grant.leaseId,
        version: state.acknowledged,
        ...takenWith(held.before, puller),
        heard: held.heard,
        unfinished,
        wantRateBytesPerSecond: rateBytesPerSecond,
        ...(topUp !== undefined && { topUp }),
        ...this.#latency(puller),
      },
      Math.max(0, leftMs),
      // What is granted and not heard of nobody pulls until the lease is settled.
      this.#graceful,
    );
    const before = piecesIn(unfinished);
    if (answer.outcome === 'wait') state.futileAt = before;
    if (answer.outcome !== 'granted') return answer;
    if (isSmaller(answer.grant, held.grant)) held.shrunkTo = answer.grant.version;
    held.grant = answer.grant;
    held.heard = sequence;
    state.requestedAtMs = requestedAtMs;
    state.ttlMs = answer.grant.ttlMs;
    state.futileAt = piecesIn(answer.grant.extents) <= before ? before : undefined;
    this.#certified(answer.grant);
    if (held.over) held.unbegun = answer.grant.extents;
    else puller.adopt(grantAfter(held.before, held.grant), requestedAtMs);
    return answer;
  }

  /** The pull is over: goes on under the same lease when there is more; false when there is not. */
  async #extend(held: Held, completed: boolean): Promise<boolean> {
    if (held.puller.unproven().connections > 0) return false;
    if (completed && this.#isWanted && held.unbegun.length === 0) {
      await this.#renew(held).catch(this.#dependencies.onProblem);
    }
    if (held.unbegun.length === 0) return false;
    held.before = takenWith(held.before, held.puller);
    held.unbegun = [];
    held.over = false;
    const grant = grantAfter(held.before, held.grant);
    held.puller = this.#dependencies.createPuller(grant, held.state.requestedAtMs);
    return true;
  }

  /** Nothing was asked of the origin under it. */
  #giveBack({ leaseId, version, extents }: LeaseGrant): Promise<void> {
    return this.#tellEnd({
      op: 'settle',
      leaseId,
      version,
      usedBytes: 0,
      unfinished: [...extents],
    });
  }

  #settle(held: Held, failure?: TaskError & { httpStatus?: number }): Promise<void> {
    const unproven = held.puller.unproven();
    return this.#tellEnd({
      op: 'settle',
      leaseId: held.grant.leaseId,
      version: held.grant.version,
      ...takenWith(held.before, held.puller),
      ...(unproven.connections > 0 && { unproven }),
      heard: held.heard,
      unfinished: this.#unfinished(held),
      ...(failure !== undefined && { failure }),
    });
  }

  async #tellEnd(ask: LeaseAsk): Promise<void> {
    const { client, clock, onProblem } = this.#dependencies;
    // Not the loop's signal: when the process ends, this is what is still to be said.
    const late = new AbortController();
    const timer = clock.setTimer(SETTLE_MS, () => late.abort());
    try {
      await client.lease(ask, SETTLE_MS, late.signal);
    } catch (error) {
      // It is said again before the next lease; if there is none, this one ends by itself.
      onProblem(error);
    } finally {
      timer.cancel();
    }
  }

  #unfinished({ puller, unbegun }: Held): Extent[] {
    // A renewal names all that is to be done, what was under way before included.
    const left = unbegun.length > 0 ? unbegun : puller.unfinished();
    return left.slice(0, MAX_UNFINISHED);
  }

  #extentsOf(held: Held) {
    const unfinishedPieces = piecesIn(held.puller.unfinished());
    const { rateBytesPerSecond, extents } = held.grant;
    return {
      grantedPieces: piecesIn(extents),
      unfinishedPieces,
      leftMs: (unfinishedPieces * this.#options.pieceLengthBytes * 1000) / rateBytesPerSecond,
      isMoreWanted: this.#isWanted,
      wantedShare: this.#dependencies.wantedRateBytesPerSecond() / held.want.rateBytesPerSecond,
      toldLatencyMs: this.#toldLatencyMs,
      latencyMs: held.puller.timeToFirstByteMs(),
      mayAcknowledge: held.state.acknowledged < held.shrunkTo && held.puller.fitsGrant(),
      isCalled: this.#asked,
    };
  }

  get #isWanted(): boolean {
    return this.#dependencies.wantedRateBytesPerSecond() > 0;
  }

  #want(): LeaseWant | undefined {
    return this.#isWanted ? this.#dependencies.want() : undefined;
  }

  #certified({ certificate }: LeaseGrant): void {
    if (certificate !== undefined) this.#dependencies.certified?.(certificate);
  }

  #latency(puller?: Puller): { timeToFirstByteMs?: number } {
    const timeToFirstByteMs = puller?.timeToFirstByteMs() ?? this.#timeToFirstByteMs;
    this.#toldLatencyMs = timeToFirstByteMs ?? this.#toldLatencyMs;
    return timeToFirstByteMs === undefined ? {} : { timeToFirstByteMs };
  }

  #recovered(): void {
    if (this.#failures > 0) this.#dependencies.onFailure(undefined);
    this.#failures = 0;
  }

  #nextPauseMs(): number {
    this.#failures += 1;
    return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#failures - 1, 10));
  }

  /** Undefined: until something is wanted. */
  async #pause(delayMs: number | undefined, signal: AbortSignal): Promise<void> {
    if (this.#asked || signal.aborted) return;
    this.#isIdle = delayMs === undefined;
    await this.#sleep(delayMs ?? LONGEST_TIMER_MS, signal);
    this.#isIdle = false;
  }

  /** Until then, or woken, or aborted. */
  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = this.#dependencies.clock.setTimer(ms, end);
      this.#wake = end;
      signal.addEventListener('abort', end);
    });
  }
}

/** Aborts a while after `signal`. */
function withGrace(clock: Clock, signal: AbortSignal): AbortSignal {
  const late = new AbortController();
  const abort = () => clock.setTimer(GRACE_MS, () => late.abort(signal.reason));
  if (signal.aborted) abort();
  else signal.addEventListener('abort', abort, { once: true });
  return late.signal;
}

/** What a larger grant adds counts from when it was given: nobody waits for its acknowledgement. */
function isSmaller(next: LeaseGrant, before: LeaseGrant): boolean {
  return (
    next.rateBytesPerSecond < before.rateBytesPerSecond ||
    next.slackBytes < before.slackBytes ||
    next.maxBytes < before.maxBytes ||
    next.connections < before.connections
  );
}

function piecesIn(extents: readonly Extent[]): number {
  return extents.reduce((sum, { count }) => sum + count, 0);
}
