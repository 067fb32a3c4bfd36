/**
 * The memory of an agent at full speed: one agent takes a file from 200 peers over loopback, as
 * fast as it can, while it gives each of them what that one lacks.
 *   node bench/manyPeers.ts [--runs 5] [--peers 200] [--mib 1024]
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Peer, Task } from '@sluice/protocol/messages.ts';
import { figureOf } from './lib/figures.ts';
import { imageEnvironment } from './lib/imageEnvironment.ts';
import { ownArguments, runBenchmark, STATE_FOLDER } from './lib/namespaces.ts';
import { makeDistribution, type PatternDistribution } from './lib/patternFile.ts';
import { processorSeconds } from './lib/processes.ts';
import type { AgentOptions, AgentSample } from './lib/programs/manyPeersAgent.ts';
import type { PeersOptions } from './lib/programs/manyPeersPeers.ts';
import { record } from './lib/record.ts';

const MIB = 1024 * 1024;
const MB = 1e6;
const PIECE = 262_144;
const PROGRAMS = path.join(import.meta.dirname, 'lib/programs');
const PEER_PROCESSES = 4;
/** So every peer takes a hundredth of the file, and 200 of them two files together. */
const LACKS_ONE_IN = 100;
const MAX_RSS = 200;
const TIMEOUT_MS = 300_000;

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    runs: { type: 'string', default: '5' },
    peers: { type: 'string', default: '200' },
    mib: { type: 'string', default: '1024' },
  },
});

/** MB are 10^6 bytes. */
interface Run {
  readonly seconds: number;
  /** The kernel's own high-water mark of resident memory. */
  readonly peakRssMb: number;
  /** Of that the part that the process made itself, and the mapped files, at the end. */
  readonly endRssAnonMb: number;
  readonly endRssFileMb: number;
  /** The highest of each, read ten times a second. */
  readonly peakHeapUsedMb: number;
  readonly peakHeapTotalMb: number;
  readonly peakExternalMb: number;
  readonly peakArrayBuffersMb: number;
  readonly downloadMbPerSecond: number;
  readonly uploadMbPerSecond: number;
  readonly cpuSecondsPerGib: number;
}

await runBenchmark(import.meta.filename, measure);

async function measure(signal: AbortSignal): Promise<boolean> {
  const distribution = makeDistribution((Number(values.mib) * MIB) / PIECE, PIECE);
  const runs: Run[] = [];
  for (let round = 1; round <= Number(values.runs); round += 1) {
    const run = await one(distribution, AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
    runs.push(run);
    console.log(`round ${round}: ${JSON.stringify(run)}`);
  }
  const of = (name: keyof Run) => runs.map((run) => run[name]);
  const args = ownArguments().join(' ');
  return record({
    name: 'manyPeers',
    command: `make bench NAME=manyPeers${args === '' ? '' : ` ARGS='${args}'`}`,
    about: [
      `One agent as in its image, without the control server, and ${values.peers} peers in`,
      `${PEER_PROCESSES} other processes, over loopback without limits. ${values.mib} MiB in pieces of`,
      `${PIECE / 1024} KiB, verified, stored in memory and checked by SHA-256; each peer lacks one`,
      `piece in ${LACKS_ONE_IN} and takes it from the agent. Memory in MB of 10^6 bytes.`,
    ].join(' '),
    runs,
    figures: [
      figureOf('peak resident memory of the agent', 'MB', of('peakRssMb'), {
        atMost: MAX_RSS,
        judgedBy: 'median',
      }),
      figureOf('peak of the heap in use', 'MB', of('peakHeapUsedMb')),
      figureOf('peak of memory outside the heap', 'MB', of('peakExternalMb')),
      figureOf('mapped files, at the end', 'MB', of('endRssFileMb')),
      figureOf('received', 'MB/s', of('downloadMbPerSecond')),
      figureOf('sent', 'MB/s', of('uploadMbPerSecond')),
      figureOf('processor time per GiB, both ways', 'CPU-s', of('cpuSecondsPerGib')),
    ],
  });
}

async function one(distribution: PatternDistribution, signal: AbortSignal): Promise<Run> {
  const children: ChildProcess[] = [];
  const start = (program: string, env: Record<string, string>) => {
    const child = fork(path.join(PROGRAMS, program), {
      serialization: 'advanced',
      env: { PATH: process.env.PATH ?? '', ...env },
    });
    children.push(child);
    return child;
  };
  const root = path.join(STATE_FOLDER, 'agent');
  await mkdir(root);
  try {
    const agent = start('manyPeersAgent.ts', imageEnvironment('node-agent'));
    const [port] = (await once(agent, 'message', { signal })) as [number];
    const count = Number(values.peers) / PEER_PROCESSES;
    const peers: Peer[] = [];
    const others: ChildProcess[] = [];
    for (let at = 0; at < PEER_PROCESSES; at += 1) {
      const child = start('manyPeersPeers.ts', {});
      const options: PeersOptions = {
        distribution,
        first: at * count,
        count,
        lacksOneIn: LACKS_ONE_IN,
      };
      child.send(options);
      const [ports] = (await once(child, 'message', { signal })) as [number[]];
      peers.push(...ports.map((each) => peerAt(each)));
      others.push(child);
    }
    const task = taskOf(distribution);
    const samples: AgentSample[] = [];
    const cpuBefore = processorSeconds(agent.pid);
    const beganAtMs = performance.now();
    const complete = others.map((child) => once(child, 'message', { signal }));
    const options: AgentOptions = { root, task, peers };
    agent.send(options);
    agent.on('message', (sample: AgentSample) => samples.push(sample));
    for (const child of others) child.send(peerAt(port));
    await Promise.all(complete);
    while (samples.at(-1)?.report.state !== 'ready') {
      const error = samples.at(-1)?.report.error;
      if (error !== undefined) throw new Error(`the agent failed: ${error.message}`);
      await sleep(20, undefined, { signal });
    }
    const seconds = (performance.now() - beganAtMs) / 1000;
    const cpuSeconds = processorSeconds(agent.pid) - cpuBefore;
    return runOf(samples, seconds, cpuSeconds, memoryOf(agent.pid));
  } finally {
    const ended = children.map((child) => once(child, 'exit'));
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(ended);
    await rm(root, { recursive: true });
  }
}

function runOf(
  samples: readonly AgentSample[],
  seconds: number,
  cpuSeconds: number,
  memory: ReadonlyMap<string, number>,
): Run {
  const peak = (name: keyof NodeJS.MemoryUsage) =>
    Math.max(...samples.map((sample) => sample.memory[name])) / MB;
  const { received, uploadedBytes = 0 } = samples.at(-1)?.report ?? {};
  const receivedBytes = received?.fromPeers ?? 0;
  return {
    seconds,
    peakRssMb: (memory.get('VmHWM') ?? Number.NaN) / MB,
    endRssAnonMb: (memory.get('RssAnon') ?? Number.NaN) / MB,
    endRssFileMb: (memory.get('RssFile') ?? Number.NaN) / MB,
    peakHeapUsedMb: peak('heapUsed'),
    peakHeapTotalMb: peak('heapTotal'),
    peakExternalMb: peak('external'),
    peakArrayBuffersMb: peak('arrayBuffers'),
    downloadMbPerSecond: receivedBytes / MB / seconds,
    uploadMbPerSecond: uploadedBytes / MB / seconds,
    cpuSecondsPerGib: cpuSeconds / ((receivedBytes + uploadedBytes) / 1024 ** 3),
  };
}

/** Bytes, by the name of the line. */
function memoryOf(pid: number | undefined): Map<string, number> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').matchAll(/^(\w+):\s+(\d+) kB$/gm);
  return new Map([...lines].map(([, name = '', kilobytes]) => [name, Number(kilobytes) * 1024]));
}

function peerAt(port: number): Peer {
  return { id: `127.0.0.1:${port}`, role: 'agent', host: '127.0.0.1', port };
}

function taskOf(distribution: PatternDistribution): Task {
  const { uid, path: file, sizeBytes, sha256, pattern, swarmId } = distribution;
  return {
    uid,
    namespace: 'bench',
    name: uid,
    epoch: 1,
    swarmId,
    pieceLengthBytes: pattern.byteLength,
    files: [{ path: file, sizeBytes, sha256 }],
    feedKey: Buffer.from(distribution.feedKey).toString('base64'),
    swarmSecret: Buffer.from(distribution.swarmSecret).toString('base64'),
    relayToken: 'none',
    delivery: { topUp: [], transport: 'Hybrid' },
    target: { path: 'model', fileMode: '0644' },
  };
}
