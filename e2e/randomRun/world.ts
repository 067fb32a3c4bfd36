/** What a run has asked for so far, and the next thing that it asks for or breaks. PURE. */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';

/** A file at the origin, and where it is in its Distribution. */
export interface WorldFile {
  /** Below the Distribution's folder; at the origin below a folder of this version. */
  readonly path: string;
  readonly sizeBytes: number;
  /** The same seed and length are the same bytes. */
  readonly seed: string;
}

export interface Version {
  /** Folder at the origin. */
  readonly folder: string;
  readonly files: readonly WorldFile[];
  /** One file named by the URL, or a set whose files are listed. */
  readonly isSet: boolean;
  readonly hasDigests: boolean;
}

/** All of it may be edited while it transfers. */
export interface Settings {
  /** Undefined: all nodes. */
  readonly zone: string | undefined;
  readonly fileMode: '0644' | '0755';
  readonly transport: 'Hybrid' | 'HTTP';
  readonly maxParallelNodes: string;
  readonly priority: number;
  readonly suspend: boolean;
  readonly nodeLabel: boolean;
  readonly dedicated: boolean;
}

export interface Wanted {
  readonly name: string;
  readonly version: Version;
  readonly settings: Settings;
}

export interface World {
  readonly nodes: readonly string[];
  readonly zones: readonly string[];
  readonly wanted: ReadonlyMap<string, Wanted>;
  readonly cordoned: string | undefined;
  /** Names are never used twice, so that what is left of one is told from another. */
  readonly named: number;
}

export type Component = 'operator' | 'relay' | 'agent' | 'mongodb';

export type Step =
  | { readonly kind: 'apply'; readonly wanted: Wanted }
  | { readonly kind: 'replace'; readonly name: string; readonly version: Version }
  | { readonly kind: 'edit'; readonly name: string; readonly settings: Partial<Settings> }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'cordon' | 'drain'; readonly node: string }
  | { readonly kind: 'uncordon'; readonly node: string }
  /** By SIGKILL: its kubelet starts the container again. */
  | { readonly kind: 'kill'; readonly component: Component; readonly which: number }
  /** Its controller makes another one. */
  | { readonly kind: 'evict'; readonly component: Component; readonly which: number };

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

export function emptyWorld(nodes: readonly string[], zones: readonly string[]): World {
  return { nodes, zones, wanted: new Map(), cordoned: undefined, named: 0 };
}

export function nextStep(world: World, random: SeededRandom): Step {
  const { wanted, cordoned } = world;
  const roll = random.below(100);
  if (wanted.size === 0 || (roll < 30 && wanted.size < MAX_DISTRIBUTIONS)) {
    return { kind: 'apply', wanted: newWanted(world, random) };
  }
  const { name, version, settings } = pick([...wanted.values()], random);
  if (roll < 45) return { kind: 'replace', name, version: nextVersion(version, world, random) };
  if (roll < 60) return { kind: 'edit', name, settings: oneEdit(settings, world, random) };
  if (roll < 72) return { kind: 'delete', name };
  if (roll < 80) {
    if (cordoned !== undefined) return { kind: 'uncordon', node: cordoned };
    return { kind: random.below(2) === 0 ? 'cordon' : 'drain', node: pick(world.nodes, random) };
  }
  return {
    kind: random.below(2) === 0 ? 'kill' : 'evict',
    component: pick(COMPONENTS, random),
    which: random.below(1000),
  };
}

/** What is to be true once it has come to rest. */
export function after(world: World, step: Step): World {
  const wanted = new Map(world.wanted);
  switch (step.kind) {
    case 'apply':
      wanted.set(step.wanted.name, step.wanted);
      return { ...world, wanted, named: world.named + 1 };
    case 'replace': {
      const before = known(world, step.name);
      wanted.set(step.name, { ...before, version: step.version });
      return { ...world, wanted, named: world.named + 1 };
    }
    case 'edit': {
      const before = known(world, step.name);
      wanted.set(step.name, { ...before, settings: { ...before.settings, ...step.settings } });
      return { ...world, wanted };
    }
    case 'delete':
      wanted.delete(step.name);
      return { ...world, wanted };
    case 'cordon':
    case 'drain':
      return { ...world, cordoned: step.node };
    case 'uncordon':
      return { ...world, cordoned: undefined };
    case 'kill':
    case 'evict':
      return world;
  }
}

/** As a log shows it, and a reader repeats it by hand. */
export function describeStep(step: Step): string {
  switch (step.kind) {
    case 'apply': {
      const { name, version, settings } = step.wanted;
      return `apply ${name}: ${describeVersion(version)}, ${JSON.stringify(settings)}`;
    }
    case 'replace':
      return `replace ${step.name}: ${describeVersion(step.version)}`;
    case 'edit':
      return `edit ${step.name}: ${JSON.stringify(step.settings)}`;
    case 'delete':
      return `delete ${step.name}`;
    case 'cordon':
    case 'drain':
    case 'uncordon':
      return `${step.kind} ${step.node}`;
    case 'kill':
    case 'evict':
      return `${step.kind} ${step.component} #${step.which}`;
  }
}

function describeVersion({ folder, files, isSet, hasDigests }: Version): string {
  const mib = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) / MIB;
  const what = isSet ? `${files.length} files` : 'one file';
  return `${folder}, ${what}, ${mib.toFixed(1)} MiB${hasDigests ? ', digests' : ''}`;
}

function known(world: World, name: string): Wanted {
  const wanted = world.wanted.get(name);
  if (wanted === undefined) throw new Error(`${name} was never applied`);
  return wanted;
}

function newWanted(world: World, random: SeededRandom): Wanted {
  return {
    name: `${NAMES}${world.named}`,
    version: newVersion(world, random),
    settings: {
      zone: anyZone(world, random),
      fileMode: pick(['0644', '0755'] as const, random),
      transport: random.below(4) === 0 ? 'HTTP' : 'Hybrid',
      maxParallelNodes: pick(['100%', '100%', '50%', '1'], random),
      priority: random.below(101),
      suspend: random.below(10) === 0,
      nodeLabel: random.below(3) === 0,
      dedicated: random.below(6) === 0,
    },
  };
}

function newVersion(world: World, random: SeededRandom): Version {
  const folder = `version-${world.named}`;
  const isSet = random.below(2) === 0;
  const count = isSet ? 1 + random.below(6) : 1;
  const files = Array.from({ length: count }, (_, at) => newFile(folder, at, random));
  return { folder, files, isSet, hasDigests: random.below(3) > 0 };
}

function newFile(folder: string, at: number, random: SeededRandom): WorldFile {
  const path = at % 2 === 0 ? `file-${at}.bin` : `deep/er/file-${at}.bin`;
  // Now and then nothing, a byte, or just over a piece; else a few seconds of the origin's rate.
  const sizeBytes = pick([0, 1, MIB + 1, 4 * MIB, random.below(24 * MIB)], random);
  return { path, sizeBytes, seed: `${folder}/${path}` };
}

/** Other files, of which a set keeps some. */
function nextVersion(before: Version, world: World, random: SeededRandom): Version {
  const next = newVersion(world, random);
  if (!before.isSet) return { ...next, isSet: false, files: next.files.slice(0, 1) };
  const kept = before.files.filter(() => random.below(2) === 0);
  const taken = new Set(kept.map(({ path }) => path));
  const files = [...kept, ...next.files.filter(({ path }) => !taken.has(path))];
  return { ...next, isSet: true, files };
}

function oneEdit(settings: Settings, world: World, random: SeededRandom): Partial<Settings> {
  switch (random.below(6)) {
    case 0:
      return { zone: anyZone(world, random) };
    case 1:
      return { fileMode: settings.fileMode === '0644' ? '0755' : '0644' };
    case 2:
      return { transport: settings.transport === 'HTTP' ? 'Hybrid' : 'HTTP' };
    case 3:
      return { nodeLabel: !settings.nodeLabel };
    case 4:
      return { maxParallelNodes: pick(['100%', '34%', '1'], random), priority: random.below(101) };
    default:
      return { suspend: !settings.suspend };
  }
}

function anyZone({ zones }: World, random: SeededRandom): string | undefined {
  return pick([undefined, undefined, ...zones], random);
}

export function pick<T>(from: readonly T[], random: SeededRandom): T {
  const found = from[random.below(from.length)];
  if (from.length === 0) throw new Error('there is nothing to pick from');
  return found as T;
}
