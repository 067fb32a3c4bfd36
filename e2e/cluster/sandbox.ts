/**
 * One set of namespaces that holds a whole cluster. Its first process is the handle on everything:
 * when it dies, the kernel ends every process and every mount in it. No packet leaves it.
 *
 * Inside, /run/sluice has `bin` and `tools` (the programs), `state` (the cluster's folder) and
 * `empty` (an empty file); network namespaces are in /run/netns.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { open, readdir, readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type RunOptions, run } from './run.ts';

export interface SandboxOptions {
  readonly binFolder: string;
  readonly toolsFolder: string;
  readonly stateFolder: string;
  /** Ends with this process, even when it is killed, or lives on until it is stopped. */
  readonly detached: boolean;
}

/** A process of which only its id, and when it started, are known: ids are used again. */
export interface ProcessId {
  readonly pid: number;
  readonly startTime: string;
}

/** Where a program runs: in a network namespace of the sandbox, or in all namespaces of a node. */
export type Place = { readonly network?: string } | { readonly process: ProcessId };

/** A program that runs until the cluster ends. */
export interface Daemon {
  readonly name: string;
  readonly logFile: string;
  /** How it ended; undefined while it runs. */
  ended(): string | undefined;
  /** Kills it and what it has started. */
  stop(): Promise<void>;
}

const SET_UP = `
set -e
bin=$1; tools=$2; state=$3
resolv=$(readlink -m /etc/resolv.conf)
mkdir -p /tmp/.sluice-run.$$
mount -n -t tmpfs -o mode=755 tmpfs /tmp/.sluice-run.$$
cd /tmp/.sluice-run.$$
mkdir -p netns lock sluice/bin sluice/tools sluice/state sluice/mounts
touch sluice/empty
mount -n --bind "$bin" sluice/bin
mount -n --bind "$tools" sluice/tools
mount -n --bind "$state" sluice/state
cd /
mount -n --move /tmp/.sluice-run.$$ /run
rmdir /tmp/.sluice-run.$$
mkdir -p "$(dirname "$resolv")"
[ -e "$resolv" ] || touch "$resolv"
mount -n --bind /run/sluice/empty "$resolv"
hostname sluice
ip link set lo up
echo ready
`;

export const START_TIMEOUT_MS = 30_000;

export class Sandbox {
  readonly init: ProcessId;

  private constructor(init: ProcessId) {
    this.init = init;
  }

  static async start(options: SandboxOptions): Promise<Sandbox> {
    const hold = options.detached ? '' : '-until-stdin-closes';
    const init = await startInit({
      argv: [
        ...['unshare', '--mount', '--pid', '--fork', '--kill-child', '--net', '--uts', '--ipc'],
        ...['--mount-proc', '--propagation', 'private', 'bash', '-c'],
        `${SET_UP}\nexec /run/sluice/tools/clusterinit ${hold} >/dev/null 2>&1`,
        ...['sandbox', options.binFolder, options.toolsFolder, options.stateFolder],
      ],
      holdStdin: !options.detached,
    });
    return new Sandbox(init);
  }

  /** A sandbox that another process started. */
  static attach(init: ProcessId): Sandbox {
    return new Sandbox(init);
  }

  isAlive(): Promise<boolean> {
    return isAlive(this.init);
  }

  /** The command line that runs a program at a place. */
  argv(place: Place, program: string, args: readonly string[]): string[] {
    if ('process' in place) {
      const enter = ['nsenter', '-t', `${place.process.pid}`, '-m', '-p', '-n', '-u', '-i'];
      return [...enter, '--', program, ...args];
    }
    const enter = ['nsenter', '-t', `${this.init.pid}`, '-m', '-p', '-u', '-i'];
    if (place.network === undefined) return [...enter, '-n', '--', program, ...args];
    const net = ['nsenter', `--net=/run/netns/${place.network}`, '--'];
    return [...enter, '--', ...net, program, ...args];
  }

  /** Runs a program to its end. */
  run(
    place: Place,
    program: string,
    args: readonly string[],
    options: RunOptions = {},
  ): Promise<string> {
    const [first = '', ...rest] = this.argv(place, program, args);
    return run(first, rest, options);
  }

  script(place: Place, script: string, options: RunOptions = {}): Promise<string> {
    return this.run(place, 'bash', ['-c', `set -e\n${script}`], options);
  }

  /** Starts a program that runs until the sandbox, or its node, ends. */
  async daemon(
    place: Place,
    name: string,
    logFile: string,
    program: string,
    args: readonly string[],
  ): Promise<Daemon> {
    return startDaemon(name, logFile, this.argv(place, program, args));
  }

  /**
   * Like `daemon`, in the network of the machine itself: for a port on its loopback interface.
   * It ends with the sandbox all the same.
   */
  async daemonOnHostNetwork(
    name: string,
    logFile: string,
    program: string,
    args: readonly string[],
  ): Promise<Daemon> {
    const enter = ['nsenter', '-t', `${this.init.pid}`, '-m', '-p', '--'];
    return startDaemon(name, logFile, [...enter, program, ...args]);
  }

  /** Where a file in the sandbox's /run is for a process outside it. */
  outside(file: string): string {
    return path.join(`/proc/${this.init.pid}/root`, file);
  }

  /** What runs this program in it, by process ids out here; the parent may be out here, too. */
  async processesOf(program: string): Promise<{ pid: number; parent: number }[]> {
    const own = await readlink(`/proc/${this.init.pid}/ns/pid`);
    const found: { pid: number; parent: number }[] = [];
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const namespace = await readlink(`/proc/${name}/ns/pid`).catch(() => '');
      if (namespace !== own) continue;
      const status = await readFile(`/proc/${name}/status`, 'utf8').catch(() => '');
      const parent = /^PPid:\s+(\d+)$/m.exec(status)?.[1];
      const isIt = /^Name:\s+(.*)$/m.exec(status)?.[1] === program;
      if (isIt && parent !== undefined) found.push({ pid: Number(name), parent: Number(parent) });
    }
    return found;
  }

  /** Ends every process in the sandbox. */
  async stop(): Promise<void> {
    await killProcess(this.init);
  }
}

/** Starts the first process of new namespaces; resolves when its script has said `ready`. */
export async function startInit(options: {
  argv: readonly string[];
  holdStdin: boolean;
}): Promise<ProcessId> {
  const [program = '', ...args] = options.argv;
  const child = spawn(program, args, {
    stdio: [options.holdStdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    // Ctrl-C is for us: we end the cluster in order.
    detached: true,
  });
  try {
    await untilReady(child);
    const pid = await lastDescendant(child.pid ?? 0);
    return { pid, startTime: (await startTime(pid)) ?? '' };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    child.stdout?.destroy();
    child.stderr?.destroy();
    child.unref();
    // The open end of the pipe is what keeps the namespaces alive; it must not keep us alive.
    (child.stdin as { unref?: () => void } | null)?.unref?.();
    child.stdin?.on('error', () => {});
  }
}

function untilReady(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = '';
    const fail = (why: string) => reject(new Error(`namespaces cannot be made: ${why}\n${said}`));
    const timer = setTimeout(() => fail('not ready in time'), START_TIMEOUT_MS);
    const onData = (chunk: Buffer) => {
      said += chunk.toString('utf8');
      if (!/^ready$/m.test(said)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on('data', onData);
    child.stderr?.on('data', onData);
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code) => {
      clearTimeout(timer);
      fail(`exit code ${code}`);
    });
  });
}

async function startDaemon(name: string, logFile: string, argv: string[]): Promise<Daemon> {
  const log = await open(logFile, 'a');
  try {
    const [program = '', ...args] = argv;
    const child = spawn(program, args, {
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    });
    let ended: string | undefined;
    child.once('error', (error) => {
      ended = error.message;
    });
    child.once('exit', (code, signal) => {
      ended = code === null ? `ended by ${signal}` : `exit code ${code}`;
    });
    child.unref();
    const stop = async () => {
      if (ended !== undefined || child.pid === undefined) return;
      for (const pid of await descendants(child.pid)) kill(pid);
    };
    return { name, logFile, ended: () => ended, stop };
  } finally {
    await log.close();
  }
}

/** Follows unshare and nsenter down to the process that they became or started. */
async function lastDescendant(pid: number): Promise<number> {
  for (let current = pid; ; ) {
    const children = await readFile(`/proc/${current}/task/${current}/children`, 'utf8');
    const [first] = children.trim().split(' ');
    if (!first) return current;
    current = Number(first);
  }
}

/** All that a process has started and not outlived, itself last. */
async function descendants(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const pids = children.split(' ').filter((child) => child !== '');
  return [...(await Promise.all(pids.map((child) => descendants(Number(child))))).flat(), pid];
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended in between.
  }
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process or only its remains. */
async function startTime(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

export async function isAlive(process: ProcessId): Promise<boolean> {
  return (await startTime(process.pid)) === process.startTime;
}

const KILL_TIMEOUT_MS = 15_000;

/** Kills a process and, when it is the first of a namespace, all that are in it; waits for that. */
export async function killProcess(id: ProcessId): Promise<void> {
  const giveUpAt = performance.now() + KILL_TIMEOUT_MS;
  while (await isAlive(id)) {
    if (performance.now() > giveUpAt) throw new Error(`process ${id.pid} does not end`);
    kill(id.pid);
    await sleep(20);
  }
}
