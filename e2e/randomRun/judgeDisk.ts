/** Whether a node's disk has what the cluster and the database say, and nothing else. PURE. */
import type { RecordFacts } from './databaseFacts.ts';
import type { DiskFacts, FolderFacts } from './diskFacts.ts';
import { type Memory, placeKey } from './memory.ts';
import type { Wanted } from './steps.ts';
import { targetsOf, type World } from './world.ts';

export interface DiskInput {
  readonly world: World;
  readonly disk: DiskFacts;
  /** Of the node's object. */
  readonly nodeUid: string;
  /** By the name of the Distribution. */
  readonly records: ReadonlyMap<string, RecordFacts>;
  readonly memory: Pick<Memory, 'versions' | 'orphans' | 'orphanedPaths' | 'retained'>;
}

/** What a node must have of a Distribution. */
type Rule = 'must' | 'may' | 'mustNot';

export function judgeDisk(input: DiskInput): string[] {
  const { world, disk } = input;
  const wrong = disk.strange.map((name) => `has ${name}`);
  if (world.away === undefined) {
    wrong.push(...disk.relayCaches.map((cache) => `still has a relay's cache: ${cache}`));
  }
  for (const wanted of world.wanted.values()) {
    const what = judgeWanted(input, wanted, ruleOf(input, wanted));
    wrong.push(...what.map((each) => `${wanted.name}: ${each}`));
  }
  wrong.push(...strays(input), ...lostLinks(input));
  return wrong.map((what) => `${disk.node}: ${what}`);
}

export function ruleOf({ world, disk }: Pick<DiskInput, 'world' | 'disk'>, wanted: Wanted): Rule {
  const { name, settings } = wanted;
  if (settings.suspend) return 'may';
  const isTarget = targetsOf(world, settings).some((node) => node.name === disk.node);
  if (isTarget) return disk.node === world.cordoned ? 'may' : 'must';
  return world.everRetained.has(name) ? 'may' : 'mustNot';
}

function judgeWanted(input: DiskInput, wanted: Wanted, rule: Rule): string[] {
  const { disk, records } = input;
  const record = records.get(wanted.name);
  if (record === undefined) return rule === 'must' ? ['has no record'] : [];
  const folder = disk.folders.find(({ uid }) => uid === record.uid);
  const link = disk.links.get(wanted.path);
  if (rule === 'mustNot') return folder === undefined ? [] : ['is here, and the node no target'];
  if (rule === 'may') return [];
  const expected = `.sluice/${record.uid}/${record.epoch}`;
  if (link !== expected) return [`is ${link}, not ${expected}`];
  if (folder === undefined) return ['has no folder'];
  return judgeFolder(input, wanted, record, folder);
}

function judgeFolder(
  { world, nodeUid, memory }: DiskInput,
  { name, path, settings }: Wanted,
  { epoch }: RecordFacts,
  folder: FolderFacts,
): string[] {
  const wrong = folder.strange.map((each) => `beside its versions is ${each}`);
  if (folder.path !== path) wrong.push(`its note says ${folder.path}`);
  const unfinished = folder.versions.filter(({ isWhole }) => !isWhole);
  wrong.push(...unfinished.map((version) => `version ${version.epoch} is not whole`));
  const epochs = folder.versions.map((version) => version.epoch);
  const later = epochs.filter((each) => each > epoch);
  wrong.push(...later.map((each) => `version ${each} is later than ${epoch}`));
  const earlier = epochs.filter((each) => each < epoch);
  if (earlier.length > settings.keepVersions) {
    wrong.push(`keeps versions ${earlier}, and should ${settings.keepVersions}`);
  }
  if (world.unsettled.has(name)) return wrong;
  // Each that was whole at the last rest is here, or as many newer ones as were always to be kept.
  const least = world.leastKept.get(name) ?? 0;
  for (const before of memory.versions.get(placeKey(nodeUid, name)) ?? []) {
    if (before >= epoch || epochs.includes(before)) continue;
    const newer = earlier.filter((each) => each > before).length;
    if (newer < least) wrong.push(`version ${before} is gone; kept are ${earlier}`);
  }
  return wrong;
}

/** What stands for no Distribution. */
function strays({ world, disk, records, memory }: DiskInput): string[] {
  const known = new Set([...records.values()].map(({ uid }) => uid));
  const paths = new Set([...world.wanted.values()].map(({ path }) => path));
  const folders = disk.folders.filter(({ uid }) => !known.has(uid) && !memory.orphans.has(uid));
  const links = [...disk.links.keys()].filter((path) => {
    return !paths.has(path) && !memory.orphanedPaths.has(path);
  });
  return [
    ...folders.map(({ uid, path }) => `the files of ${uid} (${path}) are left`),
    ...links.map((path) => `still shows ${path}`),
  ];
}

/** What a Distribution has left behind because it was to. */
function lostLinks({ disk, nodeUid, memory }: DiskInput): string[] {
  const wrong: string[] = [];
  for (const [path, link] of disk.links) {
    const uid = memory.retained.get(placeKey(nodeUid, path));
    if (uid !== undefined && !link.startsWith(`.sluice/${uid}/`)) {
      wrong.push(`${path} was to stay, and leads to ${link}`);
    }
  }
  for (const [key, uid] of memory.retained) {
    const [of, path = ''] = key.split(' ');
    if (of === nodeUid && !disk.links.has(path)) wrong.push(`${path} of ${uid} was to stay`);
  }
  return wrong;
}
