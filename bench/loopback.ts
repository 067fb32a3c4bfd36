/**
 * One seed to one node over loopback, verified and stored, against nginx to curl, by turns: rate,
 * processor time at both ends, and the node's memory.
 *   node bench/loopback.ts [--mib 1024] [--runs 5]
 */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { failWith } from '../e2e/cluster/command.ts';
import { Ballast } from './lib/ballast.ts';
import { figureOf } from './lib/figures.ts';
import type { NodeDone, PeerSetup, SeedReady } from './lib/loopbackPeer.ts';
import { ownArguments, runBenchmark, STATE_FOLDER } from './lib/namespaces.ts';
import { nginxConfiguration } from './lib/origin.ts';
import { Processes } from './lib/processes.ts';
import { record } from './lib/record.ts';

const run = promisify(execFile);
const MIB = 1024 ** 2;
const PEER = path.join(import.meta.dirname, 'lib/loopbackPeer.ts');
const START_TIMEOUT_MS = 10_000;

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    mib: { type: 'string', default: '1024' },
    runs: { type: 'string', default: '5' },
  },
});

interface Round {
  readonly sluiceSeconds: number;
  readonly curlSeconds: number;
  readonly seedCpuSeconds: number;
  readonly nodeCpuSeconds: number;
  readonly nodeMemoryBytes: number;
}

await runBenchmark(import.meta.filename, () =>
  loopback(Number(values.mib) * MIB, Number(values.runs)),
);

async function loopback(sizeBytes: number, count: number): Promise<boolean> {
  const folder = path.join(STATE_FOLDER, 'loopback');
  await mkdir(folder);
  const processes = new Processes(path.join(folder, 'logs'));
  const peers: ChildProcess[] = [];
  try {
    await processes.prepare();
    const source = path.join(folder, 'file.bin');
    await fill(source, sizeBytes);
    const url = await startNginx(folder, processes);
    const seedFolder = path.join(folder, 'seed');
    const seed = startPeer({ folder: seedFolder, sizeBytes, source }, peers);
    const [ready] = (await once(seed, 'message')) as [SeedReady];
    const rounds: Round[] = [];
    const ballast = new Ballast(STATE_FOLDER);
    for (let at = 0; at < count; at += 1) {
      ballast.take(sizeBytes);
      const target = path.join(folder, 'curl.bin');
      const curlSeconds = await curl(url, target);
      await rm(target);
      ballast.take(sizeBytes);
      const nodeFolder = path.join(folder, 'node');
      const node = startPeer({ folder: nodeFolder, sizeBytes, seed: ready }, peers);
      const round = await fetchOnce(seed, node);
      await rm(nodeFolder, { recursive: true });
      rounds.push({ ...round, curlSeconds });
      console.log(
        `round ${at + 1} of ${count}: ${round.sluiceSeconds.toFixed(2)} s, curl ${curlSeconds.toFixed(2)} s`,
      );
    }
    return await tell(rounds, sizeBytes);
  } finally {
    for (const peer of peers) peer.kill('SIGKILL');
    await processes.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function fetchOnce(seed: ChildProcess, node: ChildProcess) {
  await once(node, 'message');
  const before = await ask<number>(seed);
  const done = await ask<NodeDone>(node);
  const after = await ask<number>(seed);
  node.kill();
  await once(node, 'exit');
  return {
    sluiceSeconds: done.seconds,
    nodeCpuSeconds: done.cpuSeconds,
    nodeMemoryBytes: done.maxMemoryBytes,
    seedCpuSeconds: after - before,
  };
}

function tell(rounds: readonly Round[], sizeBytes: number): Promise<boolean> {
  const gib = sizeBytes / 1024 ** 3;
  const of = (value: (round: Round) => number) => rounds.map(value);
  return record({
    name: 'loopback',
    about: `${sizeBytes / MIB} MiB from one seed to one node over loopback, each piece verified, written and synced, without the whole-file digest; by turns with nginx to curl, written and synced, too.`,
    runs: rounds,
    figures: [
      figureOf(
        'rate / that of nginx to curl',
        '',
        of((each) => each.curlSeconds / each.sluiceSeconds),
        {
          atLeast: 0.75,
          judgedBy: 'median',
        },
      ),
      figureOf(
        'rate',
        'MiB/s',
        of((each) => (gib * 1024) / each.sluiceSeconds),
      ),
      figureOf(
        'rate of nginx to curl',
        'MiB/s',
        of((each) => (gib * 1024) / each.curlSeconds),
      ),
      figureOf(
        'processor time, both ends',
        'CPU-s/GiB',
        of((each) => (each.seedCpuSeconds + each.nodeCpuSeconds) / gib),
        { atMost: 2.5, judgedBy: 'median' },
      ),
      figureOf(
        'of it the seed',
        'CPU-s/GiB',
        of((each) => each.seedCpuSeconds / gib),
      ),
      figureOf(
        'memory of the node, one peer',
        'MB',
        of((each) => each.nodeMemoryBytes / 1e6),
        {
          atMost: 200,
          judgedBy: 'everyRun',
        },
      ),
    ],
  });
}

async function fill(file: string, sizeBytes: number): Promise<void> {
  const handle = await open(file, 'w');
  for (let at = 0; at < sizeBytes; at += MIB) {
    await handle.write(randomBytes(Math.min(MIB, sizeBytes - at)));
  }
  await handle.close();
}

async function startNginx(folder: string, processes: Processes): Promise<string> {
  const port = await freePort();
  const configuration = path.join(folder, 'nginx.conf');
  const server = `server { listen 127.0.0.1:${port}; root ${folder}; }`;
  await mkdir(folder, { recursive: true });
  await writeFile(configuration, nginxConfiguration(folder, 'loopback', server));
  processes.start('nginx', ['nginx', '-c', configuration]);
  const url = `http://127.0.0.1:${port}/file.bin`;
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await answers(url))) {
    if (Date.now() > deadline) throw new Error(`nothing answers at ${url}`);
    await sleep(50);
  }
  return url;
}

async function answers(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { method: 'HEAD' })).ok;
  } catch {
    return false;
  }
}

/** Seconds until the file is there and synced. */
async function curl(url: string, file: string): Promise<number> {
  await rm(file, { force: true });
  const beganAtMs = performance.now();
  await run('curl', ['-sf', '-o', file, url]);
  await run('sync', ['-d', file]);
  return (performance.now() - beganAtMs) / 1000;
}

function startPeer(setup: PeerSetup, peers: ChildProcess[]): ChildProcess {
  // Arguments for node, to profile with: `--cpu-prof` and the like.
  const execArgv = process.env.BENCH_NODE_ARGUMENTS?.split(' ') ?? [];
  const peer = fork(PEER, [JSON.stringify(setup)], { execArgv });
  peers.push(peer);
  peer.once('exit', (code) => {
    if (code !== null && code !== 0) failWith('bench', new Error(`a peer ended with code ${code}`));
  });
  return peer;
}

async function ask<T>(peer: ChildProcess): Promise<T> {
  peer.send('now');
  const [answer] = (await once(peer, 'message')) as [T];
  return answer;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
