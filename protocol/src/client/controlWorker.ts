import type { TransferReport } from '../messages.ts';
import type { ControlClient, ReportContent, WorkEvent } from './controlClient.ts';
import { ReportLoop } from './reportLoop.ts';
import { type TaskHost, WorkLoop, type WorkLoopOptions } from './workLoop.ts';

export interface ControlWorkerDependencies {
  readonly client: ControlClient;
  readonly host: TaskHost;
  readonly disk: () => Promise<ReportContent['disk']>;
  readonly onProblem: (error: unknown) => void;
}

/** How long the last report of a process may take. */
const LAST_REPORT_MS = 1_000;

/** A process's life under the control server: obeys its work stream and reports to it. */
export class ControlWorker {
  readonly #dependencies: ControlWorkerDependencies;
  readonly #work: WorkLoop;
  readonly #reports: ReportLoop;
  readonly #abort = new AbortController();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: WorkLoopOptions, dependencies: ControlWorkerDependencies) {
    const { client, host, disk, onProblem } = dependencies;
    this.#dependencies = dependencies;
    const onChange = (isAwaited: boolean) =>
      isAwaited ? this.#reports.now() : this.#reports.soon();
    const onTombstone = (uid: string) => this.#reports.forgetOne(uid);
    this.#work = new WorkLoop(options, { host, onChange, onTombstone, onProblem });
    this.#reports = new ReportLoop({
      client,
      reports: () => this.#work.reports(),
      acknowledged: (reports) => this.#work.acknowledged(reports),
      disk,
      onProblem,
    });
  }

  start(): void {
    const { signal } = this.#abort;
    this.#loops = Promise.all([this.#work.run(this.#events(signal)), this.#reports.run(signal)]);
  }

  reports(): TransferReport[] {
    return this.#work.reports();
  }

  /** Before stop(), while the control server and peers hear of this process still. */
  drain(signal: AbortSignal): Promise<void> {
    return this.#work.drain(signal);
  }

  /** Ends every task, tells the control server how things stand, and the connections to it. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loops;
    const last = this.#work.reports();
    await this.#work.stop();
    const content = { transfers: last };
    await this.#dependencies.client
      .report(content, AbortSignal.timeout(LAST_REPORT_MS))
      .catch(() => {});
    this.#dependencies.client.close();
  }

  async *#events(signal: AbortSignal): AsyncGenerator<WorkEvent> {
    for await (const event of this.#dependencies.client.work(signal)) {
      if (event.type === 'opened') this.#reports.forget();
      yield event;
    }
  }
}
