import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { ProcessKind } from '@sluice/protocol/messages.ts';
import type { Logger } from 'winston';
import { type AssignmentStore, rowsIn } from '../store/assignments.ts';
import { type FleetProcess, hasRemoved } from './fleetView.ts';
import type { Removal, Tombstone } from './work.ts';

export interface RemovalsDependencies {
  readonly assignments: Pick<AssignmentStore, 'load'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly processes: () => Iterable<FleetProcess>;
  /** Whether it is over may be another answer now. */
  readonly changed: (uid: string) => void;
}

interface LastingTombstone extends Tombstone {
  readonly atMs: number;
  /** Whose agents have said that they have something of it; undefined until that is read. */
  nodes: ReadonlySet<string> | undefined;
  /** Made once: with every process it is compared each time that something is told. */
  readonly said: Readonly<Record<ProcessKind, Removal>>;
  /** Processes that need not be looked at again. */
  readonly removedBy: WeakSet<FleetProcess>;
  missing: { readonly nodes: readonly string[]; readonly atMs: number } | undefined;
  /** Nothing of it is in the database: nodes that are away are not waited for any more. */
  isForgotten: boolean;
}

/** An agent that did not come for so long is not waited for: what it has are orphans. */
const ABSENT_MS = 30_000;
/** How long tombstones are told to all processes, at least; then to who is known to have something. */
const TOMBSTONE_MS = 600_000;
/** A node that is away may be so for days: what is missing is counted so often. */
const LOOK_MS = 10_000;

/** Distributions that are gone, until everybody who may have something of them has removed it. */
export class Removals {
  readonly #dependencies: RemovalsDependencies;
  readonly #tombstones = new Map<string, LastingTombstone>();

  constructor(dependencies: RemovalsDependencies) {
    this.#dependencies = dependencies;
  }

  uids(): IterableIterator<string> {
    return this.#tombstones.keys();
  }

  /** What each of the processes is to be told of it now; nothing where it is not gone. */
  tell(
    uid: string,
    processes: readonly FleetProcess[],
    say: (process: FleetProcess, said: Removal) => void,
  ): void {
    const tombstone = this.#tombstones.get(uid);
    if (tombstone === undefined) return;
    for (const process of processes) {
      if (this.#isTold(process, tombstone)) say(process, tombstone.said[process.kind]);
    }
  }

  /** Whether what it says of the distribution is still waited for. */
  awaits(process: FleetProcess, uid: string): boolean {
    const tombstone = this.#tombstones.get(uid);
    if (tombstone === undefined || !this.#concerns(process, tombstone)) return false;
    return !isRemovedBy(process, tombstone);
  }

  has(uid: string): boolean {
    return this.#tombstones.has(uid);
  }

  /** Whether it says more than what was begun: that files go that were to stay. */
  isNews({ uid, deleteFiles }: Tombstone): boolean {
    const known = this.#tombstones.get(uid);
    return known === undefined || (deleteFiles && !known.deleteFiles);
  }

  /** `nodes` that have something of it; undefined when an earlier leader began: then they are read. */
  begin({ uid, deleteFiles }: Tombstone, nodes: ReadonlySet<string> | undefined): void {
    const atMs = this.#dependencies.clock.now();
    const message = { type: 'remove', uid, deleteFiles } as const;
    const tombstone: LastingTombstone = {
      uid,
      deleteFiles,
      atMs,
      nodes,
      // A relay's cache is of no use without the distribution.
      said: { agent: message, relay: { ...message, deleteFiles: true } },
      removedBy: new WeakSet(),
      missing: undefined,
      isForgotten: false,
    };
    this.#tombstones.set(uid, tombstone);
    if (nodes === undefined) this.#recallNodes(tombstone);
  }

  /** It is there again. */
  cancel(uid: string): void {
    this.#tombstones.delete(uid);
  }

  /** Its row is deleted. */
  forget(uid: string): void {
    const tombstone = this.#tombstones.get(uid);
    if (tombstone !== undefined) tombstone.isForgotten = true;
  }

  clear(): void {
    this.#tombstones.clear();
  }

  isOver(uid: string): boolean {
    const tombstone = this.#tombstones.get(uid);
    if (tombstone?.nodes === undefined) return false;
    const processes = [...this.#dependencies.processes()];
    const concerned = processes.filter((process) => this.#concerns(process, tombstone));
    if (!concerned.every((process) => isRemovedBy(process, tombstone))) return false;
    // Nor before the agents that have the file have found this leader, or are gone for long.
    if (this.#dependencies.clock.now() - tombstone.atMs > ABSENT_MS) return true;
    const present = new Set(
      processes.filter(({ kind }) => kind === 'agent').map(({ node }) => node),
    );
    return [...tombstone.nodes].every((node) => present.has(node));
  }

  /** Nodes that have something and have not removed it, absent ones for ever; undefined: not known. */
  missing(uid: string): readonly string[] | undefined {
    const tombstone = this.#tombstones.get(uid);
    if (tombstone?.nodes === undefined) return undefined;
    const now = this.#dependencies.clock.now();
    const isOld = this.#isOld(tombstone);
    const before = tombstone.missing;
    if (isOld && before !== undefined && now - before.atMs < LOOK_MS) return before.nodes;
    const agents = [...this.#dependencies.processes()].filter(({ kind }) => kind === 'agent');
    const present = new Map(agents.map((agent) => [agent.node, isRemovedBy(agent, tombstone)]));
    // Others have been told for long enough.
    const having = new Set([...tombstone.nodes, ...(isOld ? [] : present.keys())]);
    const nodes = [...having].filter((node) => present.get(node) !== true);
    tombstone.missing = { nodes, atMs: now };
    return nodes;
  }

  #isOld({ atMs }: LastingTombstone): boolean {
    return this.#dependencies.clock.now() - atMs > TOMBSTONE_MS;
  }

  /** Of an old one: those that are known to have something, or any while that is not read. */
  #concerns({ kind, node }: FleetProcess, tombstone: LastingTombstone): boolean {
    if (!this.#isOld(tombstone)) return true;
    return kind === 'agent' && (tombstone.nodes?.has(node) ?? true);
  }

  #isTold(process: FleetProcess, tombstone: LastingTombstone): boolean {
    if (!this.#isOld(tombstone)) return true;
    return this.#concerns(process, tombstone) && !isRemovedBy(process, tombstone);
  }

  /**
   * Forgets what is over and was told for long enough. Files that are to go are told of until the
   * last node that has some has come, or until its grave is forgotten.
   */
  sweep(): void {
    const now = this.#dependencies.clock.now();
    for (const [uid, { atMs, deleteFiles, isForgotten }] of this.#tombstones) {
      if (now - atMs <= TOMBSTONE_MS || !this.isOver(uid)) continue;
      const isAwaited = deleteFiles && !isForgotten && this.missing(uid)?.length !== 0;
      if (!isAwaited) this.#tombstones.delete(uid);
    }
  }

  /** Who has the file is in the database. */
  #recallNodes(tombstone: LastingTombstone): void {
    const { assignments, changed, clock, logger } = this.#dependencies;
    const { uid } = tombstone;
    assignments.load(uid).then(
      (shards) => {
        tombstone.nodes = new Set(rowsIn(shards).map(({ node }) => node));
        changed(uid);
      },
      (error) => {
        // Then only those that are here are waited for, after the time that others have to come.
        logger.warn('assignments cannot be read', { uid, error });
        clock.setTimer(ABSENT_MS, () => {
          tombstone.nodes = new Set();
          changed(uid);
        });
      },
    );
  }
}

/**
 * What was removed stays so: else every report of every process would be looked at each second, and
 * kept.
 */
function isRemovedBy(process: FleetProcess, tombstone: LastingTombstone): boolean {
  const { removedBy } = tombstone;
  if (removedBy.has(process)) return true;
  const isRemoved = hasRemoved(process, tombstone);
  if (isRemoved) removedBy.add(process);
  return isRemoved;
}
