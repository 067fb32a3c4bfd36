/** Runs one command of a check or a suite: bounded in time, ended with all that it started. */
import { spawn } from 'node:child_process';

export interface CommandOptions {
  readonly timeoutMs: number;
  /** `inherit` shows the output as it comes; `collect` keeps it for the report. */
  readonly output: 'inherit' | 'collect';
  readonly env?: Readonly<Record<string, string>>;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly output: string;
  readonly durationMs: number;
  readonly timedOut: boolean;
}

/** How long a command that is over its time may clean up before it is killed. */
const CLEAN_UP_MS = 30_000;

/** The most output kept of one command: its end, where the errors are. */
const OUTPUT_LIMIT_CHARS = 200_000;

const running = new Set<number>();

/** Never throws: a command that cannot start has exit code 127 and says why in its output. */
export function runCommand(
  command: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const [program = '', ...args] = command;
  const startedAt = performance.now();
  let output = '';
  let timedOut = false;
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString('utf8')).slice(-OUTPUT_LIMIT_CHARS);
  };
  return new Promise((resolve) => {
    const pipe = options.output === 'collect' ? 'pipe' : 'inherit';
    const child = spawn(program, args, {
      // A process group of its own, so that ending it ends its children, and nothing else.
      detached: true,
      stdio: ['ignore', pipe, pipe],
      env: { ...process.env, ...options.env },
    });
    if (child.pid !== undefined) running.add(child.pid);
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup(child.pid, 'SIGTERM');
      killTimer = setTimeout(() => endGroup(child.pid, 'SIGKILL'), CLEAN_UP_MS);
    }, options.timeoutMs);
    let killTimer: NodeJS.Timeout | undefined;

    const finish = (exitCode: number) => {
      clearTimeout(timer);
      clearTimeout(killTimer);
      if (child.pid !== undefined) {
        endGroup(child.pid, 'SIGKILL');
        running.delete(child.pid);
      }
      resolve({ exitCode, output, durationMs: performance.now() - startedAt, timedOut });
    };
    child.once('error', (error) => {
      output += `${program}: ${error.message}\n`;
      finish(127);
    });
    child.once('exit', (code) => {
      // Output still in the pipe is read first, but a grandchild that holds the pipe is not waited for.
      setTimeout(() => finish(code ?? 1), options.output === 'collect' ? 50 : 0);
    });
  });
}

/** Ctrl-C ends what runs, so that nothing is left behind. */
export function endCommandsOnSignal(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      for (const pid of running) endGroup(pid, 'SIGTERM');
      const deadline = performance.now() + CLEAN_UP_MS;
      const poll = setInterval(() => {
        if (running.size > 0 && performance.now() < deadline) return;
        clearInterval(poll);
        for (const pid of running) endGroup(pid, 'SIGKILL');
        process.exit(130);
      }, 100);
    });
  }
}

function endGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** "7.3 s" or "12 min 4 s". */
export function formatDuration(ms: number): string {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
