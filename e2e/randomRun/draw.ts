/** The next thing that a random run asks for or breaks. PURE: it follows from the world and the seed. */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { Component, Settings, Step, Version, Wanted, WorldFile } from './steps.ts';
import { isAway, type World } from './world.ts';

/** Every Distribution of a run is named so, with a number. */
export const NAMES = 'random-';
const MAX_DISTRIBUTIONS = 6;
const MIB = 1024 * 1024;
const COMPONENTS: readonly Component[] = [
  'operator',
  'relay',
  'relay',
  'agent',
  'agent',
  'mongodb',
];
const WHICH = 1000;

export function nextStep(world: World, random: SeededRandom): Step {
  const { wanted } = world;
  const roll = random.below(100);
  if (wanted.size === 0 || (roll < 20 && wanted.size < MAX_DISTRIBUTIONS)) {
    return { kind: 'apply', wanted: newWanted(world, random) };
  }
  const { name, version, settings } = pick([...wanted.values()], random);
  if (roll < 32) return { kind: 'replace', name, version: nextVersion(version, world, random) };
  if (roll < 48) return { kind: 'edit', name, settings: oneEdit(name, settings, world, random) };
  if (roll < 56) return { kind: 'delete', name };
  if (roll < 76) return nodeStep(world, random);
  if (roll < 89) return processStep(random);
  if (roll < 93) {
    const how = pick(['cut', 'fail', 'stall'] as const, random);
    return { kind: 'originTrouble', how, seconds: 2 + random.below(14) };
  }
  if (roll < 96) {
    return {
      kind: 'damage',
      name,
      node: present(world, random),
      how: pick(['removeFile', 'cutFile', 'removeLink'] as const, random),
      which: random.below(WHICH),
    };
  }
  if (roll < 98) {
    const how = pick(['scaleRelays', 'deleteRelays', 'deleteAgents'] as const, random);
    return { kind: 'meddle', how };
  }
  const how = pick(['removeLabels', 'deleteClaim', 'writeStatus'] as const, random);
  return { kind: 'meddleWith', name, how };
}

function nodeStep(world: World, random: SeededRandom): Step {
  const { away, cordoned, losable, pool, wanted } = world;
  const roll = random.below(14);
  const isPoolMissed =
    pool.size === 0 && [...wanted.values()].some(({ settings }) => settings.isForPool);
  if (isPoolMissed && roll % 2 === 0) {
    return { kind: 'relabel', node: present(world, random), inPool: true };
  }
  if (away !== undefined && roll < 9) {
    return { kind: away.isDeleted ? 'joinNode' : 'powerOn', node: away.node };
  }
  if (losable.length > 0 && away === undefined && roll < 8) {
    const kind = pick(['powerOff', 'removeNode', 'reinstall', 'reinstall'] as const, random);
    return { kind, node: pick(losable, random) };
  }
  if (roll < 10) {
    const node = present(world, random);
    return { kind: 'relabel', node, inPool: !pool.has(node) };
  }
  if (cordoned !== undefined) return { kind: 'uncordon', node: cordoned };
  return { kind: random.below(2) === 0 ? 'cordon' : 'drain', node: present(world, random) };
}

function processStep(random: SeededRandom): Step {
  const component = pick(COMPONENTS, random);
  const which = random.below(WHICH);
  switch (random.below(8)) {
    case 0:
      return { kind: 'rollOut' };
    case 1:
    case 2:
      return { kind: 'freeze', component, which, seconds: pick([2, 5, 15], random) };
    case 3:
    case 4:
      return { kind: 'evict', component, which };
    default:
      return { kind: 'kill', component, which };
  }
}

function newWanted(world: World, random: SeededRandom): Wanted {
  const name = `${NAMES}${world.named}`;
  const former = world.formerPaths.slice(-3);
  const path = former.length > 0 && random.below(4) === 0 ? pick(former, random) : name;
  return {
    name,
    path,
    version: newVersion(world, random),
    settings: {
      zone: anyZone(world, random),
      isForPool: random.below(6) === 0,
      fileMode: pick(['0644', '0755'] as const, random),
      keepVersions: pick([1, 1, 0, 2], random),
      claim: random.below(4) === 0 ? name : undefined,
      nodeLabel: random.below(3) === 0,
      transport: random.below(4) === 0 ? 'HTTP' : 'Hybrid',
      maxParallelNodes: pick(['100%', '100%', '50%', '1'], random),
      dedicated: random.below(6) === 0,
      nodesPerRelay: pick([200, 200, 1], random),
      priority: random.below(101),
      suspend: random.below(10) === 0,
      deletionPolicy: anyPolicy(random),
      graceSeconds: anyGrace(random),
    },
  };
}

function newVersion(world: World, random: SeededRandom): Version {
  const folder = `version-${world.named}`;
  const kind = pick(['one', 'one', 'files', 'list'] as const, random);
  const count = kind === 'one' ? 1 : 1 + random.below(6);
  const files = Array.from({ length: count }, (_, at) => {
    const file = `file-${at}.bin`;
    return newFile(folder, at % 2 === 0 ? file : `deep/er/${file}`, random);
  });
  return {
    folder,
    files,
    kind,
    list: 'SHA256SUMS',
    hasDigests: kind === 'list' || random.below(3) > 0,
  };
}

function newFile(folder: string, path: string, random: SeededRandom): WorldFile {
  // Now and then nothing, a byte, or just over a piece; else a few seconds of the origin's rate.
  const sizeBytes = pick([0, 1, MIB + 1, random.below(24 * MIB), random.below(24 * MIB)], random);
  return { path, sizeBytes, seed: `${folder}/${path}` };
}

/** Other files, of which a set keeps some. */
function nextVersion(before: Version, world: World, random: SeededRandom): Version {
  const next = newVersion(world, random);
  if (before.kind === 'one') {
    return { ...next, kind: 'one', hasDigests: random.below(3) > 0, files: next.files.slice(0, 1) };
  }
  const kept = before.files.filter(() => random.below(2) === 0);
  if (before.kind === 'list' && random.below(2) === 0) {
    // Another list in the same folder, and new files beside those that it keeps.
    const number = world.named;
    const { folder } = before;
    const more = newFile(folder, `more-${number}.bin`, random);
    return { ...before, list: `SHA256SUMS-${number}`, files: [...kept, more] };
  }
  const taken = new Set(kept.map(({ path }) => path));
  const files = [...kept, ...next.files.filter(({ path }) => !taken.has(path))];
  const kind = next.kind === 'one' ? before.kind : next.kind;
  return { ...next, kind, files, hasDigests: kind === 'list' || next.hasDigests };
}

function oneEdit(
  name: string,
  settings: Settings,
  world: World,
  random: SeededRandom,
): Partial<Settings> {
  switch (random.below(11)) {
    case 0:
      return { zone: anyZone(world, random) };
    case 1:
      return { isForPool: !settings.isForPool };
    case 2:
      return { fileMode: settings.fileMode === '0644' ? '0755' : '0644' };
    case 3:
      return { keepVersions: random.below(4) };
    case 4:
      return { transport: settings.transport === 'HTTP' ? 'Hybrid' : 'HTTP' };
    case 5:
      return { nodeLabel: !settings.nodeLabel };
    case 6:
      return { claim: pick([undefined, name, `${name}-too`], random) };
    case 7:
      return { maxParallelNodes: pick(['100%', '34%', '1'], random), priority: random.below(101) };
    case 8:
      return { deletionPolicy: anyPolicy(random), graceSeconds: anyGrace(random) };
    case 9:
      return { nodesPerRelay: pick([200, 1], random), dedicated: random.below(3) === 0 };
    default:
      return { suspend: !settings.suspend };
  }
}

function anyZone({ nodes }: World, random: SeededRandom): string | undefined {
  const zones = [...new Set(nodes.map(({ zone }) => zone))];
  return pick([undefined, undefined, ...zones], random);
}

function anyPolicy(random: SeededRandom): Settings['deletionPolicy'] {
  return random.below(4) === 0 ? 'Retain' : 'Delete';
}

/** Short: whoever waits for the end of it waits so long. */
function anyGrace(random: SeededRandom): number {
  return pick([0, 0, 3, 8], random);
}

function present(world: World, random: SeededRandom): string {
  const here = world.nodes.filter(({ name }) => !isAway(world, name));
  return pick(here, random).name;
}

export function pick<T>(from: readonly T[], random: SeededRandom): T {
  const found = from[random.below(from.length)];
  if (from.length === 0) throw new Error('there is nothing to pick from');
  return found as T;
}
