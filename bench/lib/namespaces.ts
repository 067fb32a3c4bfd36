/**
 * Namespaces of a benchmark's own: its links, processes and mounts end with it, no packet leaves
 * them, and nobody else's network is touched.
 */
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { abortOnSignal, failWith } from '../../e2e/cluster/command.ts';
import { allowCubic } from '../../e2e/cluster/network.ts';
import { run } from '../../e2e/cluster/run.ts';
import { installBenchPackages } from './packages.ts';

const INSIDE = '--inside-namespaces';

/** In memory, and gone with the namespaces: the disk is not what a link benchmark measures. */
export const STATE_FOLDER = '/run/bench';

/** The name under which the control server has its certificate, and where it listens. */
export const CONTROL_HOST = 'control';
/** The same of an operator that runs as in a cluster. */
export const OPERATOR_HOST = 'sluice-control.sluice-system.svc';
export const BRIDGE = 'bench0';
export const BRIDGE_ADDRESS = '10.80.0.1';

function isInside(): boolean {
  return process.argv.includes(INSIDE);
}

/** The program's own arguments. */
export function ownArguments(args: readonly string[] = process.argv.slice(2)): string[] {
  return args.filter((arg) => arg !== INSIDE);
}

/**
 * A benchmark over links: installs what it needs, runs the program again in namespaces of its own,
 * and `measure` there, which answers whether every goal holds.
 */
export async function runBenchmark(
  program: string,
  measure: (signal: AbortSignal) => Promise<boolean>,
): Promise<void> {
  if (!isInside()) {
    try {
      await installBenchPackages(new AbortController().signal);
      process.exitCode = await runInside(program);
    } catch (error) {
      failWith('bench', error);
    }
    return;
  }
  const signal = abortOnSignal();
  try {
    await prepareNamespaces();
    if (!(await measure(signal))) process.exitCode = 1;
  } catch (error) {
    failWith('bench', signal.aborted ? signal.reason : error);
  }
  // Sockets of processes that were killed must not keep us.
  process.exit();
}

/** Runs this program again in namespaces of its own; resolves with its exit code. */
async function runInside(program: string): Promise<number> {
  // The kernel must allow the algorithm for all before a namespace may choose it.
  if (!(await allowCubic())) throw new Error('TCP cubic is not there: modprobe tcp_cubic');
  const [first = '', ...rest] = [
    ...['unshare', '--mount', '--pid', '--fork', '--kill-child', '--net', '--uts', '--ipc'],
    ...['--mount-proc', '--propagation', 'private', process.execPath],
    ...[program, INSIDE, ...process.argv.slice(2)],
  ];
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const child = spawn(first, rest, { stdio: 'inherit' });
  // Ctrl-C reaches the child by itself; SIGTERM must be passed on.
  const end = () => child.kill('SIGTERM');
  process.on('SIGTERM', end);
  process.on('SIGINT', () => {});
  child.once('error', reject);
  child.once('exit', (code) => resolve(code ?? 1));
  return promise.finally(() => process.off('SIGTERM', end));
}

/** Said once, inside. */
async function prepareNamespaces(): Promise<void> {
  await run('mount', ['-n', '-t', 'tmpfs', '-o', 'mode=755,huge=within_size', 'tmpfs', '/run']);
  await mkdir('/run/netns');
  await mkdir(STATE_FOLDER);
  const hosts = '/run/hosts';
  await writeFile(
    hosts,
    `127.0.0.1 localhost\n${BRIDGE_ADDRESS} ${CONTROL_HOST} ${OPERATOR_HOST}\n`,
  );
  await run('mount', ['-n', '--bind', hosts, '/etc/hosts']);
  await run('ip', ['link', 'set', 'lo', 'up']);
  await run('ip', ['link', 'add', BRIDGE, 'type', 'bridge', 'forward_delay', '0']);
  await run('ip', ['address', 'add', `${BRIDGE_ADDRESS}/16`, 'dev', BRIDGE]);
  await run('ip', ['link', 'set', BRIDGE, 'up']);
}
