import { type ChildProcess, spawn } from 'node:child_process';

const STOP_MS = 3000;
const KEPT_CHARS = 8000;

/** A stock client that runs until it is stopped; what it said is kept for when a test fails. */
export class ClientProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #output = '';

  constructor(
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ) {
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk) => {
        this.#output = (this.#output + String(chunk)).slice(-KEPT_CHARS);
      });
    }
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => resolve());
      this.#child.once('error', (error) => {
        this.#output += String(error);
        resolve();
      });
    });
  }

  get output(): string {
    const { exitCode } = this.#child;
    return exitCode === null ? this.#output : `${this.#output}\n[ended with ${exitCode}]`;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#ended;
    clearTimeout(timer);
  }
}
