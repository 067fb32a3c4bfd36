import type { Peer, Task, TransferReport, TransferState } from '../messages.ts';
import type { WorkEvent } from './controlClient.ts';
import { reportOf } from './taskReport.ts';

/** One epoch of a distribution at work in this process. */
export interface TaskRunner {
  /** Does not throw: what goes wrong is in report(). */
  start(): void;
  /** Another delivery, source or token for the same epoch. */
  update(task: Task): void;
  /** The whole list. */
  setPeers(peers: readonly Peer[]): void;
  askLease(): void;
  report(): TransferReport;
  /** It is about to be stopped, and gives away first what would be lost with it, until aborted. */
  drain?(signal: AbortSignal): Promise<void>;
  /** Ends it, within a bounded time; files stay. */
  stop(): Promise<void>;
}

/** What a program makes of tasks. */
export interface TaskHost {
  /** `onChange`: report() says another state or error now. */
  create(task: Task, onChange: () => void): TaskRunner;
  /** Deletes what is on disk of one epoch, or of all; answers which epochs there were. */
  deleteFiles(uid: string, epoch: number | undefined): Promise<number[]>;
  /**
   * Every task of this process has been named; `epochs` holds `uid/epoch` of each. `resting`: uids of
   * what lives without one. Called again when those are others.
   */
  synced(epochs: ReadonlySet<string>, resting: readonly string[]): Promise<void>;
}

export interface WorkLoopOptions {
  /** Whether a ready epoch ends the transfers of earlier ones: where one version is visible. */
  readonly newestOnly: boolean;
}

export interface WorkLoopDependencies {
  readonly host: TaskHost;
  /** Something is worth a report; at once, where others may wait for it. */
  readonly onChange: (isAwaited: boolean) => void;
  /** What was reported of this distribution does not count any more: all of it is to be said anew. */
  readonly onTombstone: (uid: string) => void;
  readonly onProblem: (error: unknown) => void;
}

/** Nobody's turn depends on these. */
const UNDER_WAY: ReadonlySet<TransferState> = new Set(['pending', 'transferring', 'verifying']);

interface Running {
  task: Task;
  readonly runner: TaskRunner;
}

/** Names one epoch of one distribution. */
export function taskKey({ uid, epoch }: { uid: string; epoch: number }): string {
  return `${uid}/${epoch}`;
}

/** Whether it names an epoch of this distribution. */
export function isTaskOf(key: string, uid: string): boolean {
  return key.startsWith(`${uid}/`);
}

/**
 * Obeys the work stream: which tasks run in this process, and what becomes of those that are
 * removed. What belongs to one distribution happens in order; a slow deletion of one does not
 * keep another waiting.
 */
export class WorkLoop {
  readonly #options: WorkLoopOptions;
  readonly #dependencies: WorkLoopDependencies;
  readonly #running = new Map<string, Running>();
  readonly #removed = new Map<string, TransferReport>();
  readonly #queues = new Map<string, Promise<void>>();
  #named = new Set<string>();
  #lastSync: Promise<void> = Promise.resolve();
  #isDraining = false;
  #stopped = false;

  constructor(options: WorkLoopOptions, dependencies: WorkLoopDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  /** Until the stream ends for good; then stop() is due. */
  async run(events: AsyncIterable<WorkEvent>): Promise<void> {
    for await (const event of events) this.handle(event);
  }

  handle(event: WorkEvent): void {
    switch (event.type) {
      case 'opened':
        this.#named = new Set();
        return;
      case 'task':
        this.#named.add(taskKey(event.task));
        this.#enqueue(event.task.uid, () => this.#begin(event.task));
        return;
      case 'remove':
        this.#enqueue(event.uid, () => this.#remove(event.uid, event.epoch, event.deleteFiles));
        return;
      case 'peers':
        this.#enqueue(event.uid, () => this.#find(event)?.setPeers(event.peers));
        return;
      case 'askLease':
        this.#find(event)?.askLease();
        return;
      case 'synced':
        this.#sync(this.#named, event.resting ?? []);
        return;
      case 'heartbeat':
        return;
    }
  }

  /** Everything that is so, tombstones that were carried out included. */
  reports(): TransferReport[] {
    return [...this.#running.values()]
      .map(({ runner }) => runner.report())
      .concat([...this.#removed.values()]);
  }

  /** The control server has these reports. */
  acknowledged(reports: readonly TransferReport[]): void {
    for (const report of reports) {
      if (this.#removed.get(taskKey(report)) === report) this.#removed.delete(taskKey(report));
    }
  }

  /** Begins nothing new; resolves when every transfer may be stopped, or aborted. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true;
    await Promise.all([...this.#running.values()].map(({ runner }) => runner.drain?.(signal)));
  }

  /** Ends every transfer; files stay. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#queues.values());
    await Promise.all([...this.#running.keys()].map((key) => this.#end(key)));
  }

  #find(of: { uid: string; epoch: number }): TaskRunner | undefined {
    return this.#running.get(taskKey(of))?.runner;
  }

  #begin(task: Task): void {
    const key = taskKey(task);
    const running = this.#running.get(key);
    if (running !== undefined) {
      if (JSON.stringify(running.task) === JSON.stringify(task)) return;
      running.task = task;
      running.runner.update(task);
      return;
    }
    if (this.#isDraining) return;
    // An epoch that a newer one has replaced here would put the old version back in its place.
    if (this.#options.newestOnly && this.#hasReadySuccessor(task)) return;
    this.#removed.delete(key);
    const runner = this.#dependencies.host.create(task, () => this.#changed(task));
    this.#running.set(key, { task, runner });
    runner.start();
    this.#dependencies.onChange(false);
  }

  #hasReadySuccessor({ uid, epoch }: Task): boolean {
    return [...this.#running.values()].some(
      ({ task, runner }) =>
        task.uid === uid && task.epoch > epoch && runner.report().state === 'ready',
    );
  }

  #changed({ uid, epoch }: Task): void {
    const { state, error } = this.#find({ uid, epoch })?.report() ?? {};
    const isUnderWay = state !== undefined && UNDER_WAY.has(state) && error === undefined;
    this.#dependencies.onChange(!isUnderWay);
    if (!this.#options.newestOnly || state !== 'ready') return;
    for (const { task } of this.#running.values()) {
      if (task.uid === uid && task.epoch < epoch) {
        this.#enqueue(uid, () => this.#end(taskKey(task)));
      }
    }
  }

  async #remove(uid: string, epoch: number | undefined, deleteFiles: boolean): Promise<void> {
    const epochs: number[] = [];
    for (const [key, { task }] of this.#running) {
      if (task.uid !== uid || (epoch !== undefined && task.epoch !== epoch)) continue;
      epochs.push(task.epoch);
      await this.#end(key);
    }
    if (deleteFiles) {
      epochs.push(...(await this.#dependencies.host.deleteFiles(uid, epoch)));
      // A tombstone is confirmed also when there was nothing: epochs count from 1.
      if (epochs.length === 0) epochs.push(epoch ?? 1);
      for (const each of new Set(epochs)) {
        const removed = { uid, epoch: each };
        this.#removed.set(taskKey(removed), reportOf(removed, { state: 'removed' }));
      }
    }
    if (epoch === undefined) this.#dependencies.onTombstone(uid);
    if (deleteFiles) this.#dependencies.onChange(true);
  }

  /** What the server did not name in a whole stream is not this process's any more. */
  #sync(named: ReadonlySet<string>, resting: readonly string[]): void {
    for (const [key, { task }] of this.#running) {
      if (!named.has(key)) this.#enqueue(task.uid, () => this.#end(key));
    }
    const { host, onProblem } = this.#dependencies;
    const settled = Promise.all(this.#queues.values());
    this.#lastSync = Promise.all([this.#lastSync, settled])
      .then(() => (this.#stopped ? undefined : host.synced(named, resting)))
      .catch(onProblem);
  }

  async #end(key: string): Promise<void> {
    const running = this.#running.get(key);
    if (running === undefined) return;
    this.#running.delete(key);
    await running.runner.stop();
  }

  #enqueue(uid: string, act: () => void | Promise<void>): void {
    if (this.#stopped) return;
    const before = this.#queues.get(uid) ?? Promise.resolve();
    const after = before.then(act).catch(this.#dependencies.onProblem);
    this.#queues.set(uid, after);
    after.then(() => {
      if (this.#queues.get(uid) === after) this.#queues.delete(uid);
    });
  }
}
