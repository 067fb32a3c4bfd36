/**
 * The rows of one distribution's nodes, in the shards that the database keeps them in, and what of
 * it is to be written when. PURE.
 */
import { type Assignment, type AssignmentShard, SHARD_NODES } from '../store/assignments.ts';

/** While thousands of nodes begin and end, in each second one of every shard does. */
const CHANGED_STATE_MS = 5_000;
/** How far a node is, its agent tells the next leader: thousands of rows a second are not worth it. */
const SAME_STATE_MS = 30_000;

/**
 * `usual`: what has waited for long enough; `urgent`: every change of state; `last`: all that is not
 * as it stands.
 */
export type Haste = 'usual' | 'urgent' | 'last';

interface Shard {
  readonly number: number;
  readonly rows: Map<string, Assignment>;
  /** What it says of a node is wrong, and not only old. */
  isWrong: boolean;
  isOld: boolean;
  writtenAtMs: number;
}

export class NodeRows {
  readonly #uid: string;
  readonly #shards: Shard[];
  /** By node. */
  readonly #places = new Map<string, Shard>();

  /** `stored`: all of the distribution, in the order of their numbers. */
  constructor(uid: string, stored: readonly AssignmentShard[]) {
    this.#uid = uid;
    this.#shards = stored.map(({ number }) => newShard(number));
    for (const [at, { rows }] of stored.entries()) {
      const shard = this.#shards[at] as Shard;
      // Of a node that is in two, because a leader has ended between two writes, one row is too many.
      for (const row of rows) if (!this.#places.has(row.node)) this.#put(shard, row);
      shard.isWrong = shard.rows.size < rows.length;
    }
  }

  note(row: Assignment): void {
    const shard = this.#places.get(row.node) ?? this.#shardWithRoom();
    const before = shard.rows.get(row.node);
    if (before === undefined || isTurn(before, row)) shard.isWrong = true;
    else if (isStill(before.progress, row.progress)) return;
    else shard.isOld = true;
    this.#put(shard, row);
  }

  /** Since when it is no target; undefined: it is one again. Of one without a row nothing is kept. */
  setLeft(node: string, leftAtMs: number | undefined): void {
    const shard = this.#places.get(node);
    const row = shard?.rows.get(node);
    if (shard === undefined || row === undefined || row.leftAtMs === leftAtMs) return;
    const { leftAtMs: _before, ...rest } = row;
    shard.isWrong = true;
    shard.rows.set(node, { ...rest, ...(leftAtMs !== undefined && { leftAtMs }) });
  }

  delete(node: string): void {
    const shard = this.#places.get(node);
    if (shard === undefined) return;
    this.#places.delete(node);
    shard.rows.delete(node);
    shard.isWrong = true;
  }

  /** Numbers of the shards that are to be written now, in their order. */
  due(nowMs: number, haste: Haste): number[] {
    return this.#shards.filter((each) => isDue(each, nowMs, haste)).map(({ number }) => number);
  }

  /** To be written: what is noted from now on is not in it. */
  take(number: number): AssignmentShard {
    const shard = this.#shards[number] as Shard;
    shard.isWrong = false;
    shard.isOld = false;
    return { uid: this.#uid, number, rows: [...shard.rows.values()] };
  }

  /** `isDoubtful`: something older may come to be written over it. */
  written(number: number, nowMs: number, isDoubtful: boolean): void {
    const shard = this.#shards[number] as Shard;
    shard.writtenAtMs = nowMs;
    if (isDoubtful) shard.isOld = true;
  }

  failed(number: number): void {
    (this.#shards[number] as Shard).isWrong = true;
  }

  #put(shard: Shard, row: Assignment): void {
    shard.rows.set(row.node, row);
    this.#places.set(row.node, shard);
  }

  #shardWithRoom(): Shard {
    const roomy = this.#shards.find(({ rows }) => rows.size < SHARD_NODES);
    if (roomy !== undefined) return roomy;
    const shard = newShard(this.#shards.length);
    this.#shards.push(shard);
    return shard;
  }
}

function newShard(number: number): Shard {
  const writtenAtMs = Number.NEGATIVE_INFINITY;
  return { number, rows: new Map(), isWrong: false, isOld: false, writtenAtMs };
}

function isDue({ isWrong, isOld, writtenAtMs }: Shard, nowMs: number, haste: Haste): boolean {
  const unwrittenMs = nowMs - writtenAtMs;
  if (isWrong) return haste !== 'usual' || unwrittenMs >= CHANGED_STATE_MS;
  return isOld && (haste === 'last' || unwrittenMs >= SAME_STATE_MS);
}

function isTurn(before: Assignment, now: Assignment): boolean {
  const isSame =
    before.epoch === now.epoch &&
    before.nodeUid === now.nodeUid &&
    before.leftAtMs === now.leftAtMs;
  return !isSame || before.progress.state !== now.progress.state;
}

/** Field by field: thousands of rows a second are noted, and their JSON took a tenth of a processor. */
function isStill(before: Assignment['progress'], now: Assignment['progress']): boolean {
  const [old, received] = [before.received, now.received];
  return (
    before.verifiedBytes === now.verifiedBytes &&
    before.rateBytesPerSecond === now.rateBytesPerSecond &&
    old.fromPeers === received.fromPeers &&
    old.fromRelays === received.fromRelays &&
    old.fromRelayHttp === received.fromRelayHttp &&
    old.fromOrigin === received.fromOrigin &&
    before.error?.reason === now.error?.reason &&
    before.error?.message === now.error?.message
  );
}
