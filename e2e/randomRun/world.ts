/** What a run has asked for so far, and what is to be true of it. PURE. */
import type { Settings, Step, Wanted } from './steps.ts';

export interface WorldNode {
  readonly name: string;
  readonly zone: string;
}

export interface World {
  readonly nodes: readonly WorldNode[];
  /** May be switched off, deleted, and installed anew: the rest can do without them. */
  readonly losable: readonly string[];
  readonly wanted: ReadonlyMap<string, Wanted>;
  readonly cordoned: string | undefined;
  readonly away: { readonly node: string; readonly isDeleted: boolean } | undefined;
  /** Nodes with the label of the pool. */
  readonly pool: ReadonlySet<string>;
  /** Of Distributions that were deleted: what they have left there may be taken over. */
  readonly formerPaths: readonly string[];
  /** Names are never used twice, so that what is left of one is told from another. */
  readonly named: number;
  /** Since the last rest the nodes that they are for have changed, or what becomes of the others. */
  readonly unsettled: ReadonlySet<string>;
  /** The smallest keepVersions that they had since. */
  readonly leastKept: ReadonlyMap<string, number>;
  /** Nodes that left them may have what they had, for ever. */
  readonly everRetained: ReadonlySet<string>;
}

export function emptyWorld(nodes: readonly WorldNode[], losable: readonly string[] = []): World {
  return {
    nodes,
    losable,
    wanted: new Map(),
    cordoned: undefined,
    away: undefined,
    pool: new Set(),
    formerPaths: [],
    named: 0,
    unsettled: new Set(),
    leastKept: new Map(),
    everRetained: new Set(),
  };
}

/** The nodes that it is for, those that are away included. */
export function targetsOf({ nodes, pool }: World, { zone, isForPool }: Settings): WorldNode[] {
  return nodes.filter(
    (node) => (zone === undefined || node.zone === zone) && (!isForPool || pool.has(node.name)),
  );
}

export function isAway({ away }: World, node: string): boolean {
  return away?.node === node;
}

/** What is to be true once it has come to rest. */
export function after(world: World, step: Step): World {
  switch (step.kind) {
    case 'apply': {
      const named = { ...world, named: world.named + 1 };
      const formerPaths = world.formerPaths.filter((path) => path !== step.wanted.path);
      return changed({ ...named, formerPaths }, step.wanted);
    }
    case 'replace': {
      const before = known(world, step.name);
      const next = changed(world, { ...before, version: step.version });
      return { ...next, named: world.named + 1 };
    }
    case 'edit': {
      const before = known(world, step.name);
      return changed(world, { ...before, settings: { ...before.settings, ...step.settings } });
    }
    case 'delete': {
      const { path } = known(world, step.name);
      const wanted = new Map(world.wanted);
      wanted.delete(step.name);
      return { ...world, wanted, formerPaths: [...world.formerPaths, path] };
    }
    case 'cordon':
    case 'drain':
      return { ...world, cordoned: step.node };
    case 'uncordon':
      return { ...world, cordoned: undefined };
    case 'relabel': {
      const pool = new Set(world.pool);
      if (step.inPool) pool.add(step.node);
      else pool.delete(step.node);
      return unsettlePool({ ...world, pool });
    }
    case 'powerOff':
      return { ...world, away: { node: step.node, isDeleted: false } };
    case 'powerOn':
    case 'joinNode':
      return { ...world, away: undefined };
    case 'removeNode':
      return { ...withoutObject(world, step.node), away: { node: step.node, isDeleted: true } };
    case 'reinstall':
      return withoutObject(world, step.node);
    default:
      return world;
  }
}

/** What came to rest: what changed before is no excuse any more. */
export function rested(world: World): World {
  const kept = [...world.wanted.values()].map(
    ({ name, settings }) => [name, settings.keepVersions] as const,
  );
  return { ...world, unsettled: new Set(), leastKept: new Map(kept) };
}

function changed(world: World, now: Wanted): World {
  const { name, settings } = now;
  const before = world.wanted.get(name)?.settings;
  const leastKept = new Map(world.leastKept);
  const least = leastKept.get(name) ?? settings.keepVersions;
  leastKept.set(name, Math.min(least, settings.keepVersions));
  const everRetained = new Set(world.everRetained);
  if (settings.deletionPolicy === 'Retain') everRetained.add(name);
  const isSettled =
    before !== undefined &&
    before.zone === settings.zone &&
    before.isForPool === settings.isForPool &&
    before.suspend === settings.suspend &&
    before.deletionPolicy === settings.deletionPolicy;
  const unsettled = isSettled ? world.unsettled : new Set([...world.unsettled, name]);
  const wanted = new Map(world.wanted).set(name, now);
  return { ...world, wanted, leastKept, everRetained, unsettled };
}

function unsettlePool(world: World): World {
  const ofPool = [...world.wanted.values()].filter(({ settings }) => settings.isForPool);
  return { ...world, unsettled: new Set([...world.unsettled, ...ofPool.map(({ name }) => name)]) };
}

/** What stood in the node's object is gone with it. */
function withoutObject(world: World, node: string): World {
  const pool = new Set(world.pool);
  pool.delete(node);
  const cordoned = world.cordoned === node ? undefined : world.cordoned;
  return unsettlePool({ ...world, pool, cordoned });
}

function known(world: World, name: string): Wanted {
  const wanted = world.wanted.get(name);
  if (wanted === undefined) throw new Error(`${name} was never applied`);
  return wanted;
}
