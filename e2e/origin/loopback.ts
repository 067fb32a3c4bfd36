/** An origin with its meter on the loopback interface, for benches and tests without a cluster. */
import { type ChildProcess, spawn } from 'node:child_process';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildTools } from '../cluster/build.ts';
import { freePort } from '../cluster/forward.ts';
import { nginxConfig, OriginHost } from './origin.ts';

const START_TIMEOUT_MS = 10_000;

/** Listens on a free port of 127.0.0.1. `stop()` ends it, and so does the death of this process. */
export async function startLoopbackOrigin(): Promise<OriginHost> {
  const tools = await buildTools({ log: () => {} });
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-origin-'));
  const filesFolder = path.join(folder, 'files');
  const scratchFolder = path.join(folder, 'scratch');
  await mkdir(filesFolder);
  await mkdir(scratchFolder);
  const nginxPort = await freePort();
  const config = path.join(folder, 'nginx.conf');
  const listen = `127.0.0.1:${nginxPort}`;
  await writeFile(config, nginxConfig({ listen, filesFolder, scratchFolder }));
  const controlSocket = path.join(folder, 'meter.sock');
  const children: ChildProcess[] = [];
  const stop = async () => {
    await Promise.all(children.map(end));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    children.push(
      startHeld('nginx', ['-e', 'stderr', '-p', folder, '-c', config]),
      startHeld(path.join(tools, 'meter'), [
        ...['-listen', '127.0.0.1:0', '-upstream', listen],
        ...['-control', controlSocket],
      ]),
    );
    const address = await meterAddress(controlSocket, children);
    await untilServing(listen, children);
    const url = `http://${address}`;
    return new OriginHost({ url, address, filesFolder, controlSocket, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A child that ends when we let go of its standard input, whatever the reason. */
function startHeld(program: string, args: readonly string[]): ChildProcess {
  const hold =
    'PATH=$PATH:/usr/sbin; "$@" </dev/null & child=$!; cat >/dev/null; kill $child; wait';
  const child = spawn('sh', ['-c', hold, 'sh', program, ...args], {
    stdio: ['pipe', 'ignore', 'inherit'],
    detached: true,
  });
  child.stdin?.on('error', () => {});
  child.unref();
  (child.stdin as { unref?: () => void } | null)?.unref?.();
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.ref();
  child.stdin?.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await ended;
  clearTimeout(timer);
}

async function meterAddress(socket: string, children: readonly ChildProcess[]): Promise<string> {
  const body = await poll(children, async () => {
    await access(socket);
    return get({ socketPath: socket, path: '/address' });
  });
  return (JSON.parse(body) as { address: string }).address;
}

async function untilServing(listen: string, children: readonly ChildProcess[]): Promise<void> {
  const [host = '', port = ''] = listen.split(':');
  await poll(children, () => get({ host, port, path: '/' }));
}

async function poll<T>(children: readonly ChildProcess[], attempt: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const ended = children.some((child) => child.exitCode !== null);
      if (ended || performance.now() > giveUpAt) {
        throw new Error('the origin does not start: is nginx installed?', { cause: error });
      }
      await sleep(20);
    }
  }
}

function get(options: {
  socketPath?: string;
  host?: string;
  port?: string;
  path: string;
}): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ ...options, agent: false, timeout: 2_000 }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString('utf8');
      });
      response.on('end', () => resolve(body));
      response.on('error', reject);
    });
    call.on('timeout', () => call.destroy(new Error('timed out')));
    call.on('error', reject);
    call.end();
  });
}
