/**
 * Many agents in one process: the client, work loop and report loop of the real agent, and in place
 * of the engine a transfer that only counts. Told by the parent what to be; tells it the first
 * moment at which each distribution was anybody's task here, how many are ready, when each agent's
 * work stream opened, and what the control servers answered.
 */
import { subscribe } from 'node:diagnostics_channel';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { ControlClient, type WorkEvent } from '@sluice/protocol/client/controlClient.ts';
import { ControlWorker } from '@sluice/protocol/client/controlWorker.ts';
import { reportOf } from '@sluice/protocol/client/taskReport.ts';
import type { TaskHost, TaskRunner } from '@sluice/protocol/client/workLoop.ts';
import type { Task, TransferState } from '@sluice/protocol/messages.ts';

export interface ScaleAgentsOptions {
  readonly controlUrl: string;
  readonly caFile: string;
  /** For the tokens. */
  readonly folder: string;
  readonly agents: readonly { readonly node: string; readonly token: string }[];
  /** How long a transfer takes, give or take a fifth. */
  readonly transferMs: number;
}

export type ScaleAgentsMessage =
  | { readonly type: 'task'; readonly name: string; readonly atMs: number }
  | { readonly type: 'opened'; readonly nodes: readonly string[]; readonly atMs: number }
  | ({ readonly type: 'counts' } & ScaleAgentsCounts);

export interface ScaleAgentsCounts {
  readonly tasks: number;
  readonly ready: number;
  /** Since the start, of the control servers: answers by status, connections, those that failed. */
  readonly redirected: number;
  readonly refused: number;
  readonly connections: number;
  readonly unreachable: number;
}

const COUNT_MS = 500;
/** The next agent starts when one of these has its work stream. */
const STARTING_AT_ONCE = 50;
/** Of the moments at which streams open. */
const OPENED_MS = 50;

const seen = new Set<string>();
const counts = {
  tasks: 0,
  ready: 0,
  redirected: 0,
  refused: 0,
  connections: 0,
  unreachable: 0,
};
let opened: string[] = [];

subscribe('undici:request:headers', (message) => {
  const { statusCode } = (message as { response: { statusCode: number } }).response;
  if (statusCode === 307) counts.redirected += 1;
  else if (statusCode >= 300) counts.refused += 1;
});
subscribe('undici:client:connected', () => {
  counts.connections += 1;
});
subscribe('undici:client:connectError', () => {
  counts.unreachable += 1;
});

process.once('message', (options: ScaleAgentsOptions) => {
  const agents = options.agents.values();
  const startNext = () => {
    const { value } = agents.next();
    if (value !== undefined) startAgent(options, value, startNext);
  };
  // As a DaemonSet is rolled out. All at once they would take the processors from the operator.
  for (let at = 0; at < STARTING_AT_ONCE; at += 1) startNext();
  setInterval(() => tell({ type: 'counts', ...counts }), COUNT_MS);
  setInterval(() => {
    if (opened.length === 0) return;
    tell({ type: 'opened', nodes: opened, atMs: performance.timeOrigin + performance.now() });
    opened = [];
  }, OPENED_MS);
});

function startAgent(
  { controlUrl, caFile, folder, transferMs }: ScaleAgentsOptions,
  { node, token }: ScaleAgentsOptions['agents'][number],
  onFirstOpened: () => void,
): void {
  const tokenFile = path.join(folder, `token-${node}`);
  writeFileSync(tokenFile, token);
  const onProblem = () => {};
  let hasOpened = false;
  const client = new WatchedClient(
    { controlUrl: new URL(controlUrl), caFile, tokenFile, kind: 'agent', bitTorrentPort: 6881 },
    { clock: systemClock, onProblem },
    () => {
      opened.push(node);
      if (!hasOpened) onFirstOpened();
      hasOpened = true;
    },
  );
  const host: TaskHost = {
    create: (task, onChange) => new CountingTask(task, transferMs, onChange),
    deleteFiles: async () => [],
    synced: async () => {},
  };
  const disk = async () => undefined;
  new ControlWorker({ newestOnly: true }, { client, host, disk, onProblem }).start();
}

class WatchedClient extends ControlClient {
  readonly #onOpened: () => void;

  constructor(
    options: ConstructorParameters<typeof ControlClient>[0],
    dependencies: ConstructorParameters<typeof ControlClient>[1],
    onOpened: () => void,
  ) {
    super(options, dependencies);
    this.#onOpened = onOpened;
  }

  override async *work(signal: AbortSignal): AsyncGenerator<WorkEvent> {
    for await (const event of super.work(signal)) {
      if (event.type === 'opened') this.#onOpened();
      yield event;
    }
  }
}

class CountingTask implements TaskRunner {
  readonly #task: Task;
  readonly #onChange: () => void;
  readonly #durationMs: number;
  readonly #sizeBytes: number;
  #startedMs = 0;
  #state: TransferState = 'pending';
  #timer: NodeJS.Timeout | undefined;

  constructor(task: Task, transferMs: number, onChange: () => void) {
    this.#task = task;
    this.#onChange = onChange;
    this.#durationMs = transferMs * (0.8 + 0.4 * Math.random());
    this.#sizeBytes = task.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    counts.tasks += 1;
    if (seen.has(task.name)) return;
    seen.add(task.name);
    tell({ type: 'task', name: task.name, atMs: performance.timeOrigin + performance.now() });
  }

  start(): void {
    this.#startedMs = performance.now();
    this.#state = 'transferring';
    this.#timer = setTimeout(() => {
      this.#state = 'ready';
      counts.ready += 1;
      this.#onChange();
    }, this.#durationMs);
  }

  report() {
    const share = Math.min(1, (performance.now() - this.#startedMs) / this.#durationMs);
    const isReady = this.#state === 'ready';
    const verifiedBytes = isReady ? this.#sizeBytes : Math.floor(share * this.#sizeBytes);
    const rate = isReady ? 0 : (1000 * this.#sizeBytes) / this.#durationMs;
    return reportOf(
      this.#task,
      { state: this.#state },
      {
        verifiedPieces: Math.floor(verifiedBytes / this.#task.pieceLengthBytes),
        verifiedBytes,
        received: { fromPeers: verifiedBytes, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
        uploadedBytes: verifiedBytes,
        rateBytesPerSecond: rate,
      },
    );
  }

  update(): void {}

  setPeers(): void {}

  askLease(): void {}

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    counts.tasks -= 1;
    if (this.#state === 'ready') counts.ready -= 1;
  }
}

function tell(message: ScaleAgentsMessage): void {
  process.send?.(message);
}
