import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeCertificates } from '@sluice/protocol/client/testing/certificates.ts';
import {
  type FakeControlHandlers,
  FakeControlServer,
} from '@sluice/protocol/client/testing/fakeControlServer.ts';
import type { Peer, Task, TransferReport, WorkMessage } from '@sluice/protocol/messages.ts';

/** Other processes and tests may share the machine. */
const PATIENCE = { timeout: 60_000, interval: 20 };
/** Refuses connections. */
const CLOSED_PORT = 1;
const REPOSITORY = path.resolve(import.meta.dirname, '../../..');
const NODE = path.join(REPOSITORY, 'node_modules/.bin/node');

/** Calls again until it does not throw; vitest's waitFor is one. */
export type WaitFor = <Found>(look: () => Found, options: typeof PATIENCE) => Promise<Found>;

export interface Program {
  readonly name: string;
  readonly kind: 'relay' | 'agent';
  readonly folder: string;
  readonly bitTorrentPort: number;
  readonly httpPort: number;
  readonly healthPort: number;
  readonly stockPort: number;
  child?: ChildProcess;
}

/** Real relay and agent processes, under a control server of the test's, on loopback. */
export class ProcessFleet {
  readonly programs: Program[] = [];
  folder!: string;
  control!: FakeControlServer;
  controlUrl!: URL;
  readonly #kinds: Readonly<Record<string, Program['kind']>>;
  readonly #waitFor: WaitFor;
  readonly #checkSeconds: number;
  readonly #environment: Readonly<Record<string, string>>;
  #caFile!: string;

  constructor(
    kinds: Readonly<Record<string, Program['kind']>>,
    { waitFor }: { readonly waitFor: WaitFor },
    {
      checkSeconds = 3_600,
      environment = {},
    }: {
      /** How often agents look whether placed files are as they were: for most tests never. */
      readonly checkSeconds?: number;
      /** More settings, of every process. */
      readonly environment?: Readonly<Record<string, string>>;
    } = {},
  ) {
    this.#kinds = kinds;
    this.#waitFor = waitFor;
    this.#checkSeconds = checkSeconds;
    this.#environment = environment;
  }

  async start(handlers: FakeControlHandlers): Promise<void> {
    this.folder = await mkdtemp(path.join(tmpdir(), 'sluice-processes-'));
    const certificates = await makeCertificates(this.folder);
    this.#caFile = certificates.caFile;
    this.control = new FakeControlServer({ ...certificates, reportIntervalMs: 100 }, handlers);
    this.controlUrl = await this.control.start();
    for (const [name, kind] of Object.entries(this.#kinds)) {
      const program = {
        name,
        kind,
        folder: path.join(this.folder, name),
        bitTorrentPort: await freePort(),
        httpPort: await freePort(),
        healthPort: await freePort(),
        stockPort: await freePort(),
      };
      await mkdir(program.folder);
      await writeFile(path.join(this.folder, `${name}.token`), name);
      this.programs.push(program);
      this.launch(name);
    }
    const count = this.programs.length;
    await this.#waitFor(() => {
      if (this.control.streams < count) throw new Error('not all have come');
    }, PATIENCE);
  }

  async stop(): Promise<void> {
    for (const { child } of this.programs) child?.kill('SIGKILL');
    await this.control.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  launch(name: string): void {
    const program = this.programOf(name);
    const main = program.kind === 'relay' ? 'relay-image/src/main.ts' : 'node-agent/src/main.ts';
    const child = spawn(NODE, [main], {
      cwd: REPOSITORY,
      env: {
        SLUICE_CONTROL_URL: this.controlUrl.href,
        SLUICE_CA_FILE: this.#caFile,
        SLUICE_TOKEN_FILE: path.join(this.folder, `${name}.token`),
        SLUICE_ROOT: program.folder,
        SLUICE_CACHE: program.folder,
        SLUICE_BITTORRENT_PORT: String(program.bitTorrentPort),
        SLUICE_HTTP_PORT: String(program.httpPort),
        SLUICE_HEALTH_PORT: String(program.healthPort),
        SLUICE_STOCK_PORT: String(program.stockPort),
        SLUICE_MIN_FREE_PERCENT: '0',
        SLUICE_CHECK_SECONDS: String(this.#checkSeconds),
        SLUICE_LOG_LEVEL: 'debug',
        ...this.#environment,
      },
    });
    const log = createWriteStream(path.join(this.folder, `${name}.log`), { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    program.child = child;
  }

  kill(name: string, signal: NodeJS.Signals): Promise<number | null> {
    const { child } = this.programOf(name);
    if (child === undefined) throw new Error(`${name} does not run`);
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    return ended;
  }

  programOf(name: string): Program {
    const program = this.programs.find((each) => each.name === name);
    if (program === undefined) throw new Error(`no program ${name}`);
    return program;
  }

  /** What a process is told of a task; `blocked`: nobody can be reached over BitTorrent. */
  messagesFor(task: Task, name: string, { blocked = false } = {}): WorkMessage[] {
    const { kind } = this.programOf(name);
    const { source, target, ...common } = task;
    const isTold =
      kind === 'relay' || task.pulls === true || task.delivery.topUp.includes('Origin');
    const own = { ...common, ...(isTold && { source }), ...(kind === 'agent' && { target }) };
    const peers = this.programs
      .filter((program) => program.name !== name)
      .map(
        (program): Peer => ({
          id: program.name,
          role: program.kind,
          host: '127.0.0.1',
          port: blocked ? CLOSED_PORT : program.bitTorrentPort,
          ...(program.kind === 'relay' && { httpPort: program.httpPort }),
        }),
      );
    return [
      { type: 'task', task: own as Task },
      { type: 'peers', uid: task.uid, epoch: task.epoch, peers },
    ];
  }

  /** What a process says, once it says so. */
  reported(
    name: string,
    uid: string,
    check: (report: TransferReport) => boolean,
  ): Promise<TransferReport> {
    return this.#waitFor(() => {
      const report = this.control.lastReport(name, uid);
      if (report !== undefined && check(report)) return report;
      throw new Error(`${name} says of ${uid}: ${JSON.stringify(report)}`);
    }, PATIENCE);
  }

  ready(name: string, uid: string, epoch = 1): Promise<TransferReport> {
    return this.reported(name, uid, (report) => report.epoch === epoch && report.state === 'ready');
  }

  /** The end of what each process has logged. */
  async printLogs(): Promise<void> {
    for (const { name } of this.programs) {
      const log = await readFile(path.join(this.folder, `${name}.log`), 'utf8').catch(() => '');
      console.log(`--- ${name}\n${log.slice(-4_000)}`);
    }
  }
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Payload from anywhere. */
export function receivedBytes({ received }: TransferReport): number {
  return Object.values(received).reduce((sum, bytes) => sum + bytes, 0);
}

async function freePort(): Promise<number> {
  const server = createNetServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
