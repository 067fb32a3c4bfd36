/**
 * What the cluster, the database and the disks say that is not as a run wants it: sentences, none
 * when it has come to rest. Each of the three is read by itself, not by way of another.
 */
import { readdir, readlink, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ClusterNode } from '../cluster/cluster.ts';
import { foldersOf, withDatabase } from '../install/remains.ts';
import { type Sluice, sha256OfFile } from '../install/sluice.ts';
import type { Digests } from './act.ts';
import { NAMES, type Wanted, type World } from './world.ts';

interface DistributionState {
  readonly metadata: { readonly name: string; readonly uid: string; readonly generation: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message: string;
    }[];
    readonly nodes?: { readonly desired: number; readonly ready: number; readonly failed: number };
  };
}

interface NodeState {
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
}

/** `gone`: uids of Distributions that were deleted. */
export async function differences(
  sluice: Sluice,
  world: World,
  gone: ReadonlySet<string>,
  digests: Digests,
): Promise<string[]> {
  const objects = await list<DistributionState>(sluice, ['distributions', '-n', 'default']);
  const nodes = await list<NodeState>(sluice, ['nodes']);
  const found = [...differentObjects(world, objects), ...differentLabels(sluice, world, nodes)];
  // The disks are read only when the cluster says that all is well: it takes a while.
  if (found.length > 0) return found;
  for (const node of sluice.cluster.nodes) {
    found.push(...(await differentFiles(sluice, world, node, digests)));
  }
  for (const uid of gone) {
    found.push(...(await foldersOf(sluice.cluster, uid)).map((folder) => `${folder} is left`));
  }
  found.push(...(await rowsLeft(sluice, gone)));
  return found;
}

function differentObjects(world: World, objects: readonly DistributionState[]): string[] {
  const names = new Set(objects.map(({ metadata }) => metadata.name));
  const missing = [...world.wanted.keys()].filter((name) => !names.has(name));
  return [
    ...missing.map((name) => `Distribution ${name} is not there`),
    ...objects.flatMap((object) => differentObject(world, object)),
  ];
}

function differentObject(world: World, { metadata, status }: DistributionState): string[] {
  const { name, generation } = metadata;
  const wanted = world.wanted.get(name);
  if (wanted === undefined) return [`Distribution ${name} is still there`];
  if (status?.observedGeneration !== generation) {
    return [`${name} has generation ${generation}, its status is of ${status?.observedGeneration}`];
  }
  if (wanted.settings.suspend) return [];
  const ready = status.conditions?.find(({ type }) => type === 'Ready');
  const counts = JSON.stringify(status.nodes);
  return ready?.status === 'True' ? [] : [`${name} is not Ready: ${ready?.message} (${counts})`];
}

/** The nodes of a zone, but for a cordoned one, of which either is right. */
function judgedNodes(sluice: Sluice, world: World, zone: string | undefined): ClusterNode[] {
  return sluice.cluster.nodes.filter(
    (node) => node.name !== world.cordoned && (zone === undefined || node.zone === zone),
  );
}

function differentLabels(sluice: Sluice, world: World, nodes: readonly NodeState[]): string[] {
  const prefix = 'default.dist.sluice.dev/';
  const expected = new Set<string>();
  for (const { name, settings } of world.wanted.values()) {
    if (!settings.nodeLabel || settings.suspend) continue;
    for (const node of judgedNodes(sluice, world, settings.zone))
      expected.add(`${node.name} ${name}`);
  }
  const shown = new Set<string>();
  for (const { metadata } of nodes) {
    for (const label of Object.keys(metadata.labels)) {
      if (label.startsWith(prefix)) shown.add(`${metadata.name} ${label.slice(prefix.length)}`);
    }
  }
  const mayBe = (entry: string) => {
    const [node = '', name = ''] = entry.split(' ');
    const settings = world.wanted.get(name)?.settings;
    return settings?.nodeLabel && (settings.suspend || node === world.cordoned);
  };
  return [
    ...[...expected].filter((each) => !shown.has(each)).map((each) => `no label: ${each}`),
    ...[...shown]
      .filter((each) => !expected.has(each) && !mayBe(each))
      .map((each) => `a label too many: ${each}`),
  ];
}

async function differentFiles(
  sluice: Sluice,
  world: World,
  node: ClusterNode,
  digests: Digests,
): Promise<string[]> {
  const found: string[] = [];
  const folder = path.join(sluice.root(node), 'default');
  const entries: string[] = await readdir(folder).catch(() => []);
  // What other Distributions were told to leave behind is not this run's.
  for (const name of entries.filter((each) => each.startsWith(NAMES))) {
    if (!world.wanted.has(name)) found.push(`${node.name} still shows ${name}`);
  }
  for (const wanted of world.wanted.values()) {
    const { zone, suspend } = wanted.settings;
    const isJudged = node.name !== world.cordoned && !suspend;
    const isTarget = zone === undefined || node.zone === zone;
    if (isJudged && isTarget) {
      const wrong = await wrongIn(path.join(folder, wanted.name), wanted, digests);
      found.push(...wrong.map((what) => `${node.name}: ${wanted.name}: ${what}`));
    }
    if (isJudged && !isTarget && entries.includes(wanted.name)) {
      found.push(`${node.name} is in ${node.zone} and still shows ${wanted.name}`);
    }
  }
  return found;
}

async function wrongIn(folder: string, wanted: Wanted, digests: Digests): Promise<string[]> {
  const { version, settings } = wanted;
  const target = await readlink(folder).catch(() => undefined);
  if (target === undefined) return ['is not shown'];
  const root = path.resolve(path.dirname(folder), target);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)));
  const expected = new Map(
    version.files.map((file) => [version.isSet ? file.path : path.basename(file.path), file]),
  );
  const wrong = names.filter((name) => !expected.has(name)).map((name) => `${name} is too many`);
  for (const [name, { seed }] of expected) {
    const file = path.join(root, name);
    const facts = await stat(file).catch(() => undefined);
    if (facts === undefined) {
      wrong.push(`${name} is missing`);
      continue;
    }
    const mode = `0${(facts.mode & 0o777).toString(8)}`;
    if (mode !== settings.fileMode) wrong.push(`${name} has mode ${mode}`);
    const sha256 = await sha256OfFile(file);
    if (sha256 !== digests.of.get(seed)) wrong.push(`${name} has SHA-256 ${sha256}`);
  }
  return wrong;
}

async function rowsLeft(sluice: Sluice, gone: ReadonlySet<string>): Promise<string[]> {
  const known = await withDatabase(sluice.cluster, (database) => database.uids());
  const rows = [...known].filter((uid) => gone.has(uid));
  return rows.map((uid) => `the database has rows of ${uid}, which is gone`);
}

async function list<T>(sluice: Sluice, args: readonly string[]): Promise<readonly T[]> {
  const said = await sluice.cluster.kubectl(['get', ...args, '-o', 'json']);
  return (JSON.parse(said) as { items: T[] }).items;
}
