import { setTimeout as sleep } from 'node:timers/promises';
import type { TransferReport } from '../messages.ts';
import { backoffMs } from './backoff.ts';
import type { ReportContent } from './controlClient.ts';
import { isTaskOf, taskKey } from './workLoop.ts';

export interface ReportLoopDependencies {
  readonly client: {
    readonly reportIntervalMs: number;
    /**
     * The first report to a control server comes at any time of so long, and what nobody waits for
     * within a part of it: thousands of agents would else all send theirs at once.
     */
    readonly spreadMs: number;
    /** Whether a work stream is open. */
    readonly connected: boolean;
    report(content: ReportContent, signal: AbortSignal): Promise<unknown>;
  };
  /** How things are now; a report replaces every earlier one of the same epoch. */
  readonly reports: () => TransferReport[];
  readonly acknowledged: (reports: readonly TransferReport[]) => void;
  readonly disk: () => Promise<ReportContent['disk']>;
  readonly onProblem: (error: unknown) => void;
}

/** Changes within this time go out together. */
const GATHER_MS = 20;
/** Of spreadMs: thousands of agents begin a distribution at the same time. */
const BEGIN_SPREAD = 1 / 3;
const MAX_TRANSFERS = 10_000;
/** Whoever has nothing to say says so this often: that it lives is known by its work stream. */
const NOTHING_NEW_MS = 30_000;

/**
 * Sends what changed since the control server last heard it: each interval when there is something,
 * and sooner when a state changes. Reports are cumulative: the next one replaces what could not be
 * sent. While there is no work stream nothing is sent: thousands of nodes that look for the next
 * leader are not to knock twice each.
 */
export class ReportLoop {
  readonly #dependencies: ReportLoopDependencies;
  /** By epoch, what the control server knows, as JSON. */
  #known = new Map<string, string>();
  #wake: () => void = () => {};
  #urgent = false;
  #sentAtMs = Number.NEGATIVE_INFINITY;
  /** How long the next report may wait; undefined: until its interval is over. */
  #waitMs: number | undefined;

  constructor(dependencies: ReportLoopDependencies) {
    this.#dependencies = dependencies;
  }

  /** A state changed, and others may wait for that. */
  now(): void {
    this.#urgent = true;
    this.#wake();
  }

  /** A state changed, as it does at thousands at the same time. */
  soon(): void {
    if (this.#waitMs !== undefined) return;
    this.#waitMs = this.#dependencies.client.spreadMs * BEGIN_SPREAD * Math.random();
    this.#wake();
  }

  /** The control server may be another one: tell it everything. */
  forget(): void {
    this.#known = new Map();
    this.#sentAtMs = Number.NEGATIVE_INFINITY;
    this.#waitMs = this.#dependencies.client.spreadMs * Math.random();
    this.#urgent = false;
    this.#wake();
  }

  /**
   * With a tombstone the control server has forgotten what it was told of this distribution: what is
   * said from now on is the answer, also if the same was said before.
   */
  forgetOne(uid: string): void {
    // What is under way notes in the map before that it was told.
    this.#known = new Map(this.#known);
    for (const key of this.#known.keys()) if (isTaskOf(key, uid)) this.#known.delete(key);
  }

  /** Until aborted; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      if (!this.#dependencies.client.connected) {
        await this.#woken();
        await this.#gather(signal);
        continue;
      }
      try {
        await this.send(signal);
        failures = 0;
      } catch (error) {
        // That a work stream has ended was told already.
        const isNews = !signal.aborted && this.#dependencies.client.connected;
        if (isNews && failures === 0) this.#dependencies.onProblem(error);
        failures += 1;
      }
      if (failures > 0) await this.#rest(backoffMs(failures, Math.random()), signal);
      else await this.#pause(this.#dependencies.client.reportIntervalMs, signal);
    }
  }

  /** One report now. */
  async send(signal: AbortSignal): Promise<void> {
    this.#urgent = false;
    this.#waitMs = undefined;
    const known = this.#known;
    const live = this.#dependencies.reports();
    const changed = live
      .filter((report) => known.get(taskKey(report)) !== JSON.stringify(report))
      .slice(0, MAX_TRANSFERS);
    const now = performance.now();
    if (changed.length === 0 && now - this.#sentAtMs < NOTHING_NEW_MS) return;
    const disk = await this.#dependencies.disk();
    await this.#dependencies.client.report(
      { transfers: changed, ...(disk !== undefined && { disk }) },
      signal,
    );
    this.#sentAtMs = now;
    this.#dependencies.acknowledged(changed);
    for (const report of changed) known.set(taskKey(report), JSON.stringify(report));
    const keys = new Set(live.map(taskKey));
    for (const key of known.keys()) if (!keys.has(key)) known.delete(key);
  }

  async #pause(intervalMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#isDue) await Promise.race([this.#woken(), this.#rest(intervalMs, signal)]);
    if (this.#isDue) await this.#gather(signal);
  }

  get #isDue(): boolean {
    return this.#urgent || this.#waitMs !== undefined;
  }

  async #gather(signal: AbortSignal): Promise<void> {
    // A new server may come, or a change, while it waits.
    while (!this.#urgent && !signal.aborted && (this.#waitMs ?? 0) > 0) {
      const waitMs = this.#waitMs as number;
      this.#waitMs = 0;
      await Promise.race([this.#woken(), this.#rest(waitMs, signal)]);
    }
    await this.#rest(GATHER_MS, signal);
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #rest(delayMs: number, signal: AbortSignal): Promise<void> {
    await sleep(delayMs, undefined, { signal }).catch(() => {});
  }
}
