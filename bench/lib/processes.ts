/** The processes of a run: started, their processor time read, ended all together. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { forEachLine } from '../../e2e/cluster/lines.ts';

/** The kernel's unit of times in /proc; the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Gets each line of standard output. */
  readonly onLine?: (line: string) => void;
}

export interface Started {
  readonly name: string;
  readonly child: ChildProcess;
  readonly logFile: string;
  /** How it ended; undefined while it runs. */
  ended(): string | undefined;
  readonly exit: Promise<number | null>;
}

export class Processes {
  readonly #logFolder: string;
  readonly #started: Started[] = [];
  #isStopping = false;

  constructor(logFolder: string) {
    this.#logFolder = logFolder;
  }

  async prepare(): Promise<void> {
    await mkdir(this.#logFolder, { recursive: true });
  }

  start(name: string, argv: readonly string[], options: StartOptions = {}): Started {
    const [program = '', ...args] = argv;
    const logFile = path.join(this.#logFolder, `${name}.log`);
    const log = createWriteStream(logFile, { flags: 'a' });
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { PATH: process.env.PATH ?? '', ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.stdin.on('error', () => {});
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    if (options.onLine) forEachLine(child.stdout, options.onLine);
    let ended: string | undefined;
    const exit = new Promise<number | null>((resolve) => {
      child.once('error', (error) => {
        ended = error.message;
        resolve(null);
      });
      child.once('exit', (code, signal) => {
        ended = signal === null ? `exit code ${code}` : `ended by ${signal}`;
        resolve(code);
      });
    });
    const started = { name, child, logFile, ended: () => ended, exit };
    this.#started.push(started);
    return started;
  }

  /** Throws when one of these has ended by itself: nobody waits for what cannot come. */
  check(names: ReadonlySet<string>): void {
    if (this.#isStopping) return;
    for (const { name, ended, logFile } of this.#started) {
      const how = names.has(name) ? ended() : undefined;
      if (how === undefined) continue;
      const said = readFileSync(logFile, 'utf8').slice(-2_000);
      throw new Error(`${name} has ended by itself (${how}):\n${said}`);
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const { child } of this.#started) child.kill('SIGKILL');
    await Promise.all(this.#started.map(({ exit }) => exit));
  }
}

/** Seconds of processor time of a process and the children that it waited for; 0 when it is gone. */
export function processorSeconds(pid: number | undefined): number {
  if (pid === undefined) return 0;
  try {
    return parseProcessorSeconds(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return 0;
  }
}

/** Of /proc/PID/stat: user and system time, own and of waited-for children. PURE. */
export function parseProcessorSeconds(stat: string): number {
  // The name before the last bracket may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return ticks / TICKS_PER_SECOND;
}
