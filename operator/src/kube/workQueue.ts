/**
 * A queue of keys: a key waits at most once, is never worked on twice at the same time, and comes
 * back with growing delay when its work fails. What somebody asked for goes before what only fell
 * due: two priorities of those that controller-runtime's queue has.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import { isKubeError } from './client.ts';

export interface WorkQueueOptions {
  /** Keys worked on at the same time. */
  readonly concurrency?: number;
  /** Delay after the first failure; doubles with each that follows. */
  readonly minBackoffMs?: number;
  /** News waits for it, too: when the API server is there again, no longer than that. */
  readonly maxBackoffMs?: number;
}

export interface WorkQueueDependencies {
  readonly clock: Clock;
  readonly random: Random;
  /** The work. Throwing asks for another try after a delay; returning forgets the failures. */
  work(key: string, signal: AbortSignal): Promise<void>;
  /** From when it was due to when its work had ended, failed or not. */
  onDone?(latencyMs: number): void;
  onError(key: string, error: unknown, retryAfterMs: number): void;
}

/** Of every so many turns one is for what fell due: edits without end do not keep it for ever. */
const DUE_TURN = 4;

interface Entry {
  state: 'idle' | 'waiting' | 'working';
  /** While its work goes on: when it ends it works again, at once, or only if it has not failed. */
  again: 'no' | 'unlessFailed' | 'atOnce';
  failures: number;
  /** Since when it waits, or is to be worked on again. */
  dueMs: number;
  timer?: { readonly handle: Timer; readonly dueMs: number };
}

export class WorkQueue {
  readonly #options: Required<WorkQueueOptions>;
  readonly #deps: WorkQueueDependencies;
  readonly #entries = new Map<string, Entry>();
  /** Keys that wait, those that came first before the others. */
  readonly #asked = new Set<string>();
  readonly #due = new Set<string>();
  #turns = 0;
  readonly #stop = new AbortController();
  #working = 0;
  #started = false;
  #idle: (() => void)[] = [];

  constructor(options: WorkQueueOptions, dependencies: WorkQueueDependencies) {
    this.#options = { concurrency: 4, minBackoffMs: 200, maxBackoffMs: 10_000, ...options };
    this.#deps = dependencies;
  }

  get depth(): number {
    return this.#asked.size + this.#due.size;
  }

  start(): void {
    this.#started = true;
    this.#pump();
  }

  /** Nothing new begins; resolves when the work under way, which is aborted, has ended. */
  async stop(): Promise<void> {
    this.#started = false;
    this.#stop.abort();
    for (const entry of this.#entries.values()) entry.timer?.handle.cancel();
    if (this.#working > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Somebody asks for it: before all that only fell due, also if it waits among that. */
  add(key: string): void {
    const entry = this.#entry(key);
    const nowMs = this.#deps.clock.now();
    this.#cancelTimer(entry);
    if (entry.state === 'working') {
      if (entry.again === 'no') entry.dueMs = nowMs;
      entry.again = 'atOnce';
    } else if (entry.state === 'idle') {
      this.#wait(key, entry, this.#asked, nowMs);
    } else if (this.#due.delete(key)) {
      this.#asked.add(key);
    }
  }

  #wait(key: string, entry: Entry, line: Set<string>, dueMs: number): void {
    this.#cancelTimer(entry);
    entry.dueMs = dueMs;
    entry.state = 'waiting';
    line.add(key);
    this.#pump();
  }

  /**
   * An earlier time that was asked for before stands. So does the delay of what has failed: only
   * `add`, as for an edit, tries it again before.
   */
  addAfter(key: string, delayMs: number): void {
    if (this.#stop.signal.aborted) return;
    const entry = this.#entry(key);
    const dueMs = this.#deps.clock.now() + delayMs;
    if (entry.state === 'waiting' || entry.again !== 'no') return;
    if (entry.state === 'idle' && entry.failures > 0) return;
    if (entry.timer !== undefined && entry.timer.dueMs <= dueMs) return;
    this.#setTimer(key, entry, delayMs);
  }

  #setTimer(key: string, entry: Entry, delayMs: number): void {
    this.#cancelTimer(entry);
    const dueMs = this.#deps.clock.now() + delayMs;
    const handle = this.#deps.clock.setTimer(delayMs, () => {
      delete entry.timer;
      if (entry.state === 'idle') this.#wait(key, entry, this.#due, dueMs);
      else if (entry.state === 'working' && entry.again === 'no') {
        entry.dueMs = dueMs;
        entry.again = 'unlessFailed';
      }
    });
    entry.timer = { handle, dueMs };
  }

  #entry(key: string): Entry {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { state: 'idle', again: 'no', failures: 0, dueMs: 0 };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #cancelTimer(entry: Entry): void {
    entry.timer?.handle.cancel();
    delete entry.timer;
  }

  #pump(): void {
    while (this.#started && this.#working < this.#options.concurrency) {
      const key = this.#next();
      if (key === undefined) return;
      void this.#work(key, this.#entry(key));
    }
  }

  #next(): string | undefined {
    const lines = [this.#asked, this.#due];
    if (this.#turns % DUE_TURN === DUE_TURN - 1) lines.reverse();
    for (const line of lines) {
      const [key] = line;
      if (key === undefined) continue;
      line.delete(key);
      this.#turns += 1;
      return key;
    }
    return undefined;
  }

  async #work(key: string, entry: Entry): Promise<void> {
    entry.state = 'working';
    const { dueMs } = entry;
    this.#working += 1;
    try {
      await this.#deps.work(key, this.#stop.signal);
      entry.failures = 0;
    } catch (error) {
      if (!this.#stop.signal.aborted) {
        const askedMs = isKubeError(error, 'TooManyRequests') ? (error.retryAfterMs ?? 0) : 0;
        const delayMs = Math.max(this.#backoffMs(entry.failures), askedMs);
        entry.failures += 1;
        this.#deps.onError(key, error, delayMs);
        // Instead of what was asked for meanwhile: news that came while it failed is no reason to hurry.
        if (entry.again === 'unlessFailed') entry.again = 'no';
        if (entry.again === 'no') this.#setTimer(key, entry, delayMs);
      }
    }
    this.#working -= 1;
    this.#deps.onDone?.(this.#deps.clock.now() - dueMs);
    this.#finished(key, entry);
  }

  #finished(key: string, entry: Entry): void {
    entry.state = 'idle';
    if (entry.again !== 'no') {
      const line = entry.again === 'atOnce' ? this.#asked : this.#due;
      entry.again = 'no';
      this.#wait(key, entry, line, entry.dueMs);
    } else if (entry.timer === undefined && entry.failures === 0) {
      this.#entries.delete(key);
    }
    if (this.#working === 0) {
      for (const resolve of this.#idle.splice(0)) resolve();
    }
    this.#pump();
  }

  /** Between half and the whole of the delay, so that what failed together does not come together. */
  #backoffMs(failures: number): number {
    const { minBackoffMs, maxBackoffMs } = this.#options;
    const full = Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(failures, 30));
    return full * (0.5 + this.#deps.random.next() / 2);
  }
}
