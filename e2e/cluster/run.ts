/** Runs one program to its end, bounded in time. */
import { spawn } from 'node:child_process';
import { forEachLine } from './lines.ts';

export interface RunOptions {
  readonly input?: string | undefined;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  /** Gets each line of both outputs as it comes. */
  readonly onLine?: (line: string) => void;
}

const DEFAULT_TIMEOUT_MS = 60_000;

/** How much of an output an error message carries: its end, where the reason is. */
const ERROR_CHARS = 4_000;

export class RunError extends Error {
  readonly code = 'RunFailed';
  readonly exitCode: number | undefined;
  readonly stderr: string;

  constructor(message: string, exitCode: number | undefined, stderr: string) {
    super(message);
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}

/** Resolves with the standard output; throws a RunError that carries the standard error. */
export function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const shown = `${program} ${args.join(' ')}`.slice(0, 300);
  if (options.signal?.aborted) {
    reject(new RunError(`${shown}: aborted`, undefined, ''));
    return promise;
  }
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.env === undefined ? process.env : { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  let ended = '';
  const end = (why: string) => {
    ended ||= why;
    child.kill('SIGTERM');
    killTimer ??= setTimeout(() => child.kill('SIGKILL'), 2_000);
  };
  let killTimer: NodeJS.Timeout | undefined;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const timer = setTimeout(() => end(`not done after ${timeoutMs / 1000} s`), timeoutMs);
  const onAbort = () => end('aborted');
  options.signal?.addEventListener('abort', onAbort, { once: true });

  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  if (options.onLine) {
    forEachLine(child.stdout, options.onLine);
    forEachLine(child.stderr, options.onLine);
  }
  // A program that ends without reading its input is not an error of its own.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');

  const finish = (error: string | undefined, exitCode: number | undefined) => {
    clearTimeout(timer);
    clearTimeout(killTimer);
    options.signal?.removeEventListener('abort', onAbort);
    const output = Buffer.concat(stdout).toString('utf8');
    if (error === undefined) return resolve(output);
    const errors = Buffer.concat(stderr).toString('utf8');
    const said = (errors.trim() || output.trim()).slice(-ERROR_CHARS);
    reject(new RunError(`${shown}: ${error}\n${said}`, exitCode, errors));
  };
  child.once('error', (error) => finish(error.message, undefined));
  child.once('close', (code, signal) => {
    if (ended) finish(ended, code ?? undefined);
    else if (code === 0) finish(undefined, 0);
    else finish(code === null ? `ended by ${signal}` : `exit code ${code}`, code ?? undefined);
  });
  return promise;
}

/** Whether a program is on the PATH or in the folders where Debian keeps root's programs. */
export async function isInstalled(program: string): Promise<boolean> {
  const found = await run('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${program}`]).catch(
    () => '',
  );
  return found.trim() !== '';
}
