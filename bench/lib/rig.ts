/** What a run over shaped links stands on: hosts, the origin with its file, one system. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Ballast } from './ballast.ts';
import { type Host, hostsOf, makeLinks, removeLinks } from './links.ts';
import { STATE_FOLDER } from './namespaces.ts';
import { makeFile, startOrigin } from './origin.ts';
import { Processes } from './processes.ts';
import { type Setup, sizeBytesOf } from './setups.ts';
import type { Rig, RunningSystem, System } from './system.ts';

/** Of the whole program: the next run takes at once what one gives back. */
let ballast: Ballast | undefined;

/** Makes it all, lets `use` have it, and removes it again. */
export async function withRig<T>(
  setup: Setup,
  system: System,
  { signal, done }: Pick<Rig, 'signal' | 'done'>,
  use: (rig: Rig, running: RunningSystem, hosts: readonly Host[]) => Promise<T>,
): Promise<T> {
  const folder = path.join(STATE_FOLDER, 'run');
  await mkdir(path.join(folder, 'www'), { recursive: true });
  const hosts = hostsOf(setup);
  const processes = new Processes(path.join(folder, 'logs'));
  let running: RunningSystem | undefined;
  takeMemory(setup);
  try {
    await processes.prepare();
    await makeLinks(hosts);
    const file = await makeFile(path.join(folder, 'www/file.bin'), sizeBytesOf(setup));
    const [originHost] = hosts;
    const origin = await startOrigin(originHost as Host, file, folder, processes);
    const relays = hosts.filter(({ kind }) => kind === 'relay');
    const nodes = hosts.filter(({ kind }) => kind === 'node');
    const rig = { setup, relays, nodes, origin, folder, processes, signal, done };
    running = await system.prepare(rig);
    // Once more: for what was stored to warm up.
    takeMemory(setup);
    return await use(rig, running, hosts);
  } finally {
    await running?.stop();
    await processes.stop();
    await removeLinks(hosts);
    ballast?.rest();
    await rm(folder, { recursive: true, force: true });
  }
}

/** For the file on every node and relay. */
function takeMemory(setup: Setup): void {
  ballast ??= new Ballast(STATE_FOLDER);
  ballast.take(sizeBytesOf(setup) * (setup.nodes.length + setup.relays.length));
}

/** Nodes whose file is not the origin's. */
export async function wrongFiles(
  { nodes, origin }: Rig,
  running: Pick<RunningSystem, 'fileOf'>,
): Promise<string[]> {
  const wrong: string[] = [];
  for (const node of nodes) {
    const hash = createHash('sha256');
    await pipeline(createReadStream(running.fileOf(node)), hash);
    if (hash.digest('hex') !== origin.file.sha256) wrong.push(node.name);
  }
  return wrong;
}
