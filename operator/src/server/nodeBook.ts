/**
 * The nodes of one distribution: how its epoch stands on each, which have left and may have
 * something of it still, and whose turn it is. PURE: state in, state changed, no time of its own.
 */
import type { DistributionPlan, EpochRecord, NodeProgress } from '../controllers/dataSide.ts';
import type { Assignment } from '../store/assignments.ts';
import { placesOf } from './waves.ts';

export type NodeRecord = Assignment['progress'];

/** What is known of the agent of a node; one that is not named has none. */
export type Agents = ReadonlyMap<string, 'connected' | 'silent'>;

export interface AppliedPlan {
  /** No targets any more; targets again, before their files went. */
  readonly left: readonly string[];
  readonly returned: readonly string[];
  readonly forgotten: readonly string[];
  readonly reinstalled: ReadonlySet<string>;
  readonly joined: ReadonlySet<string>;
}

const NOBODY = {
  left: [],
  returned: [],
  reinstalled: new Set<string>(),
  joined: new Set<string>(),
};

/** Agents find a new leader within this: what they were at goes on meanwhile. */
const RETURN_MS = 30_000;

/** A piece at the rate of a slow node, and an origin that makes it wait, are sooner. */
const STILL_MS = 60_000;

const PENDING: NodeRecord = {
  state: 'pending',
  verifiedBytes: 0,
  rateBytesPerSecond: 0,
  received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
};

export class NodeBook {
  plan: DistributionPlan;
  /** Of the plan's epoch. */
  readonly #records = new Map<string, NodeRecord>();
  /** By node: since when it is no target any more. */
  readonly #leavers = new Map<string, number>();
  #targets: ReadonlyMap<string, DistributionPlan['nodes'][number]>;
  /** How many targets have all of it: asked for at each report, so not counted anew. */
  #readyCount = 0;
  /** Undefined: no look has given any, or there is no limit. */
  #places: ReadonlySet<string> | undefined;
  /** For nodes whose agents may come back: when they do not, others are to have their turn. */
  #keepsPlaces = false;
  /** Where places are given: since when a node has had so many bytes. */
  readonly #unmoved = new Map<
    string,
    { readonly verifiedBytes: number; readonly sinceMs: number }
  >();
  /** When the rows of an earlier leader were read. */
  #recalledAtMs: number | undefined;
  /** As made last; undefined when something of it has changed. */
  #progress: { readonly agents: Agents; readonly nodes: readonly NodeProgress[] } | undefined;
  /** An earlier epoch, and the nodes that had it when its successor began. */
  #before: { readonly record: EpochRecord; readonly nodes: Set<string> } | undefined;

  constructor(plan: DistributionPlan) {
    this.plan = plan;
    this.#targets = targetsOf(plan);
  }

  /**
   * Answers who has left or is back, the nodes of which the database has nothing to keep, those of
   * them that were installed anew under their names, and those that were no targets before.
   */
  apply(plan: DistributionPlan, nowMs: number): AppliedPlan {
    const before = this.#targets;
    const planned = this.plan;
    const isNews = plan.record.epoch !== planned.record.epoch;
    if (isNews || plan.nodes !== planned.nodes || plan.suspend !== planned.suspend) {
      this.#progress = undefined;
    }
    this.plan = plan;
    // As at most looks: nobody has come or gone.
    if (!isNews && plan.nodes === planned.nodes) {
      return { ...NOBODY, forgotten: this.#keepNoLeavers() };
    }
    if (isNews) this.#beginEpoch(planned.record);
    this.#targets = targetsOf(plan);
    const reinstalled = new Set<string>();
    const left: string[] = [];
    for (const [name, { uid }] of before) {
      const now = this.#targets.get(name);
      if (now?.uid !== uid) this.#before?.nodes.delete(name);
      if (now === undefined) {
        this.#leave(name, nowMs);
        left.push(name);
      }
      // Its disk has nothing of what it had.
      else if (now.uid !== uid && this.#records.delete(name)) reinstalled.add(name);
    }
    const returned = this.leavers().filter((name) => this.#targets.has(name));
    for (const name of returned) this.#leavers.delete(name);
    this.#countReady();
    const joined = new Set([...this.#targets.keys()].filter((name) => !before.has(name)));
    const forgotten = [...reinstalled, ...this.#keepNoLeavers()];
    return { left, returned, forgotten, reinstalled, joined };
  }

  /**
   * What the database has of an earlier leader's time; answers what it need not keep. `unixMs` is now
   * on the wall's clock: the grace of who has left before goes on.
   */
  recall(rows: readonly Assignment[], nowMs: number, unixMs = 0): string[] {
    this.#recalledAtMs = nowMs;
    this.#progress = undefined;
    const forgotten: string[] = [];
    const { epoch } = this.plan.record;
    for (const { node, nodeUid, epoch: of, progress, leftAtMs = unixMs } of rows) {
      const target = this.#targets.get(node);
      // Another replica's clock may be ahead: nothing begins later than now.
      if (target === undefined) this.#leave(node, nowMs - Math.max(0, unixMs - leftAtMs));
      else if (nodeUid !== undefined && target.uid !== undefined && nodeUid !== target.uid) {
        forgotten.push(node);
      } else if (of === epoch && !this.#records.has(node)) this.#records.set(node, progress);
    }
    this.#countReady();
    return [...forgotten, ...this.#keepNoLeavers()];
  }

  /** An earlier epoch that this node had when the next one began; what it is of use for is there still. */
  earlierOf(node: string): EpochRecord | undefined {
    return this.#before?.nodes.has(node) === true ? this.#before.record : undefined;
  }

  get earlier(): EpochRecord | undefined {
    return this.#before?.record;
  }

  /** Of all nodes. */
  get verifiedBytes(): number {
    let sum = 0;
    for (const { verifiedBytes } of this.#records.values()) sum += verifiedBytes;
    return sum;
  }

  recordOf(node: string): NodeRecord {
    return this.#records.get(node) ?? PENDING;
  }

  /**
   * Each target in the plan's order; the same array as long as nothing has changed. Several ask in
   * one look at a distribution.
   */
  progress(agents: Agents): readonly NodeProgress[] {
    if (this.#progress?.agents === agents) return this.#progress.nodes;
    const nodes = this.plan.nodes.map(({ name }): NodeProgress => {
      const { state, ...record } = this.recordOf(name);
      const connected = agents.get(name) === 'connected';
      // Who is told to do nothing reports no more: what it said last is not so any more.
      const isTold = this.#isTold(name);
      // A rate of a process that is gone is none.
      const rateBytesPerSecond = connected && isTold ? record.rateBytesPerSecond : 0;
      const shown = !isTold && isUnderWay(state) ? 'pending' : state;
      return { ...record, state: shown, rateBytesPerSecond, name, connected };
    });
    this.#progress = { agents, nodes };
    return nodes;
  }

  get isRecalled(): boolean {
    return this.#recalledAtMs !== undefined;
  }

  /** Targets that have all of it. */
  get readyCount(): number {
    return this.#readyCount;
  }

  /** Nothing is left to pull. */
  get isEverywhere(): boolean {
    return this.#targets.size > 0 && this.#readyCount === this.#targets.size;
  }

  /** A node that is here has the file, and gives it to the others. */
  hasSource(agents: Agents): boolean {
    return this.plan.nodes.some(
      ({ name }) => this.recordOf(name).state === 'ready' && agents.get(name) === 'connected',
    );
  }

  /** Whether the target of this name is known to be another node than the one of this uid. */
  isReplaced({ node, nodeUid }: { readonly node: string; readonly nodeUid?: string | undefined }) {
    const uid = this.#targets.get(node)?.uid;
    return uid !== undefined && nodeUid !== undefined && uid !== nodeUid;
  }

  /** A row for the database; undefined: the node is no target. */
  take(node: string, progress: NodeRecord): Assignment | undefined {
    const target = this.#targets.get(node);
    if (target === undefined) return undefined;
    this.#readyCount += Number(progress.state === 'ready') - Number(this.#isReady(node));
    this.#records.set(node, progress);
    this.#progress = undefined;
    const { uid, epoch } = this.plan.record;
    return { uid, epoch, node, ...(target.uid !== undefined && { nodeUid: target.uid }), progress };
  }

  /** Who may have something of it: targets that have said so, and those that have left. */
  holders(): Set<string> {
    return new Set([...this.#records.keys(), ...this.#leavers.keys()]);
  }

  /** Nodes whose files are to go now. */
  leaving(nowMs: number): string[] {
    const { suspend, leaving } = this.plan;
    if (suspend || leaving?.deleteFiles !== true) return [];
    return [...this.#leavers]
      .filter(([, sinceMs]) => nowMs - sinceMs >= leaving.graceMs)
      .map(([name]) => name);
  }

  get hasLeavers(): boolean {
    return this.#leavers.size > 0;
  }

  leavers(): string[] {
    return [...this.#leavers.keys()];
  }

  isLeaver(node: string): boolean {
    return this.#leavers.has(node);
  }

  /** It has nothing any more, or is no more. */
  forgetLeaver(node: string): boolean {
    return this.#leavers.delete(node);
  }

  /** Whether it is known who transfers: until then nobody is to be told that he does not. */
  get isSure(): boolean {
    return this.plan.maxParallelNodes === undefined || this.#recalledAtMs !== undefined;
  }

  /** Whether a node takes part now, by its name; one that has the file always does. */
  turns(agents: Agents, nowMs: number): (node: string) => boolean {
    const { maxParallelNodes: most, nodes } = this.plan;
    this.#keepsPlaces = false;
    if (most === undefined) {
      this.#placesAre(undefined);
      return () => true;
    }
    const recalledAtMs = this.#recalledAtMs;
    if (recalledAtMs === undefined) return (name) => this.recordOf(name).state === 'ready';
    this.#keepsPlaces = nowMs - recalledAtMs < RETURN_MS;
    const unheard = this.#keepsPlaces ? 'silent' : 'none';
    const candidates = nodes.map(({ name }) => {
      const { state, verifiedBytes } = this.recordOf(name);
      const isStill = this.#isStill(name, nowMs);
      return { name, state, verifiedBytes, isStill, agent: agents.get(name) ?? unheard } as const;
    });
    const places = placesOf(candidates, most, this.#places ?? new Set());
    this.#placesAre(places);
    return (name) => places.has(name) || this.recordOf(name).state === 'ready';
  }

  /**
   * Whether time alone may change who is told what: a grace ends, an agent does not come back, a node
   * stands still.
   */
  get isWaiting(): boolean {
    return this.hasLeavers || this.#keepsPlaces || (this.#places?.size ?? 0) > 0;
  }

  #placesAre(places: ReadonlySet<string> | undefined): void {
    const before = this.#places;
    const isSame =
      before?.size === places?.size && [...(places ?? [])].every((name) => before?.has(name));
    if (!isSame) this.#progress = undefined;
    this.#places = places;
  }

  /** Whether it is to transfer, as far as is known. */
  #isTold(node: string): boolean {
    return !this.plan.suspend && this.#places?.has(node) !== false;
  }

  /**
   * It transfers, has a place, and has got nothing for long; or has lost its place for that. It
   * stays so until a byte comes.
   */
  #isStill(node: string, nowMs: number): boolean {
    const { state, verifiedBytes, rateBytesPerSecond } = this.recordOf(node);
    const hasPlace = this.#places?.has(node) === true;
    const before = this.#unmoved.get(node);
    const isMoving = hasPlace && rateBytesPerSecond > 0;
    if (state !== 'transferring' || isMoving || before?.verifiedBytes !== verifiedBytes) {
      this.#unmoved.set(node, { verifiedBytes, sinceMs: nowMs });
      return false;
    }
    if (nowMs - before.sinceMs >= STILL_MS) return true;
    // Whoever has no place need not move.
    if (!hasPlace) this.#unmoved.set(node, { verifiedBytes, sinceMs: nowMs });
    return false;
  }

  #isReady(node: string): boolean {
    return this.recordOf(node).state === 'ready';
  }

  #countReady(): void {
    this.#readyCount = [...this.#targets.keys()].filter((name) => this.#isReady(name)).length;
  }

  #beginEpoch(before: EpochRecord): void {
    const ready = [...this.#records].filter(([, { state }]) => state === 'ready');
    const nodes = new Set(ready.map(([name]) => name));
    if (nodes.size > 0) this.#before = { record: before, nodes };
    this.#records.clear();
  }

  #leave(node: string, nowMs: number): void {
    this.#records.delete(node);
    this.#unmoved.delete(node);
    if (!this.#leavers.has(node)) this.#leavers.set(node, nowMs);
  }

  /** Where files stay, a node that has left is no concern any more. */
  #keepNoLeavers(): string[] {
    if (this.plan.leaving?.deleteFiles === true) return [];
    const names = [...this.#leavers.keys()];
    this.#leavers.clear();
    return names;
  }
}

function isUnderWay(state: NodeRecord['state']): boolean {
  return state === 'transferring' || state === 'verifying';
}

function targetsOf({ nodes }: DistributionPlan) {
  return new Map(nodes.map((node) => [node.name, node]));
}
