/**
 * What the cluster, the database and the disks say that is not as a run wants it: sentences, none
 * when it has come to rest. Each of the three is read by itself, not by way of another.
 */
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ClusterNode } from '../cluster/cluster.ts';
import { type Sluice, sha256OfFile } from '../install/sluice.ts';
import { placedName } from './act.ts';
import type { AtOrigin } from './atOrigin.ts';
import { type ClusterFacts, readCluster } from './clusterFacts.ts';
import { type RecordFacts, readDatabase } from './databaseFacts.ts';
import { type DiskFacts, readDisk } from './diskFacts.ts';
import { judgeCluster } from './judgeCluster.ts';
import { judgeDatabase, recordsOf } from './judgeDatabase.ts';
import { judgeDisk, ruleOf } from './judgeDisk.ts';
import { type Memory, placeKey } from './memory.ts';
import type { Version } from './steps.ts';
import { isAway, type World } from './world.ts';

interface Seen {
  readonly cluster: ClusterFacts;
  readonly records: ReadonlyMap<string, RecordFacts>;
  /** By the uid of the node's object. */
  readonly disks: ReadonlyMap<string, DiskFacts>;
}

export interface Look {
  readonly differences: readonly string[];
  /** Undefined while there are differences. */
  readonly seen: Seen | undefined;
}

export async function look(
  sluice: Sluice,
  world: World,
  memory: Memory,
  origin: AtOrigin,
  sinceMs: number,
): Promise<Look> {
  const cluster = await readCluster(sluice);
  const found = judgeCluster(world, cluster);
  // The others are read only when the cluster says that all is well: it takes a while.
  if (found.length > 0) return { differences: found, seen: undefined };
  const { records: all, ...database } = await readDatabase(sluice.cluster);
  const { connections, bytesTotal } = await sluice.cluster.origin.stats();
  const meter = { openConnections: connections.open, bytesTotal, sinceMs };
  found.push(...judgeDatabase(world, cluster, { records: all, ...database }, meter));
  const records = new Map(
    [...world.wanted.values()].flatMap((wanted) => {
      const [record] = recordsOf(wanted, cluster.distributions, all);
      return record === undefined ? [] : [[wanted.name, record] as const];
    }),
  );
  const disks = await readDisks(sluice, world, cluster.nodes);
  for (const [nodeUid, disk] of disks) {
    found.push(...judgeDisk({ world, disk, nodeUid, records, memory }));
  }
  if (found.length > 0) return { differences: found, seen: undefined };
  const seen = { cluster, records, disks };
  const differences = await wrongFiles(sluice, world, memory, origin, seen);
  return { differences, seen: differences.length > 0 ? undefined : seen };
}

/** Of the nodes that are here. */
export async function readDisks(
  sluice: Sluice,
  world: World,
  nodes: ClusterFacts['nodes'],
): Promise<Map<string, DiskFacts>> {
  const disks = new Map<string, DiskFacts>();
  for (const { metadata } of nodes) {
    if (isAway(world, metadata.name)) continue;
    disks.set(metadata.uid, await readDisk(sluice, nodeNamed(sluice, metadata.name)));
  }
  return disks;
}

/** What came to rest is what the next rest is held against. */
export function remember(world: World, memory: Memory, { records, disks }: Seen): void {
  const versions = new Map<string, readonly number[]>();
  for (const { name, version, settings } of world.wanted.values()) {
    const record = records.get(name);
    if (record === undefined || settings.suspend) continue;
    memory.contents.set(`${record.uid}/${record.epoch}`, version);
    for (const [nodeUid, { folders }] of disks) {
      const own = folders.find(({ uid }) => uid === record.uid)?.versions ?? [];
      const whole = own.filter(({ isWhole }) => isWhole).map(({ epoch }) => epoch);
      versions.set(placeKey(nodeUid, name), whole);
    }
  }
  memory.versions = versions;
}

/** Also of the versions that are kept for pods that run on them. */
async function wrongFiles(
  sluice: Sluice,
  world: World,
  memory: Memory,
  origin: AtOrigin,
  { records, disks }: Seen,
): Promise<string[]> {
  const found: string[] = [];
  for (const [nodeUid, disk] of disks) {
    const root = path.join(sluice.root(nodeNamed(sluice, disk.node)), 'default/.sluice');
    for (const wanted of world.wanted.values()) {
      const { name, settings } = wanted;
      const record = records.get(name);
      if (record === undefined || ruleOf({ world, disk }, wanted) !== 'must') continue;
      const versions = disk.folders.find(({ uid }) => uid === record.uid)?.versions ?? [];
      const isDamaged = memory.damaged.has(placeKey(nodeUid, name));
      for (const { epoch } of versions) {
        const id = `${record.uid}/${epoch}`;
        const isCurrent = epoch === record.epoch;
        const version = isCurrent ? wanted.version : memory.contents.get(id);
        if (version === undefined || (isDamaged && !isCurrent)) continue;
        const mode = isCurrent ? settings.fileMode : undefined;
        const wrong = await wrongIn(path.join(root, id), version, mode, origin);
        found.push(...wrong.map((what) => `${disk.node}: ${name}: version ${epoch}: ${what}`));
      }
    }
  }
  return found;
}

/** `mode`: undefined where it does not matter. */
async function wrongIn(
  root: string,
  version: Version,
  mode: string | undefined,
  origin: AtOrigin,
): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)));
  const expected = new Map(version.files.map((file) => [placedName(version, file.path), file]));
  const wrong = names.filter((name) => !expected.has(name)).map((name) => `${name} is too many`);
  for (const [name, wanted] of expected) {
    const file = path.join(root, name);
    const facts = await stat(file).catch(() => undefined);
    if (facts === undefined) {
      wrong.push(`${name} is missing`);
      continue;
    }
    const found = `0${(facts.mode & 0o777).toString(8)}`;
    if (mode !== undefined && found !== mode) wrong.push(`${name} has mode ${found}`);
    const sha256 = await sha256OfFile(file);
    if (sha256 !== origin.digestOf(wanted)) wrong.push(`${name} has SHA-256 ${sha256}`);
  }
  return wrong;
}

function nodeNamed(sluice: Sluice, name: string): ClusterNode {
  const found = sluice.cluster.nodes.find((node) => node.name === name);
  if (found === undefined) throw new Error(`there is no node ${name}`);
  return found;
}
