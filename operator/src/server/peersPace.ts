/**
 * How often a process is told another list of peers. In a swarm of thousands each that comes or goes
 * changes the lists of many, and while thousands come, to a new leader or with new nodes, each look
 * would tell everybody another one: hundreds of megabytes, for which those that come have to wait.
 * Whoever comes is told at once whom it may ask, and everybody of relays that come or go.
 */
import type { Peer } from '@sluice/protocol/messages.ts';
import type { FleetProcess } from './fleetView.ts';
import { samePeers } from './work.ts';

/** Swarms of up to so many are told of each change. */
const SMALL = 500;
/** So many nodes are told another list in a second. */
const LISTS_PER_SECOND = 500;
/** Of the nodes that it knows, about twenty. With fewer it might find nobody that has what it lacks. */
const ENOUGH = 8;
/** Lists that wait go out together, so many times in that which each waits for. */
const LOOKS = 4;

/** Of one distribution. */
export class PeersPace {
  readonly #toldMs = new WeakMap<FleetProcess, number>();
  #members: readonly { readonly process: FleetProcess }[] = [];
  /** Of the members; found when it is asked for. */
  #ids: ReadonlySet<string> | undefined;
  #intervalMs = 0;
  #nowMs = 0;
  #dueMs = Number.POSITIVE_INFINITY;

  /** A look at all of its members. */
  begin(members: readonly { readonly process: FleetProcess }[], nowMs: number): void {
    this.#members = members;
    this.#ids = undefined;
    this.#intervalMs = members.length <= SMALL ? 0 : (members.length / LISTS_PER_SECOND) * 1000;
    this.#nowMs = nowMs;
    this.#dueMs = Number.POSITIVE_INFINITY;
  }

  /** What it is told now: what it knows already, or who its peers are. */
  listFor(
    process: FleetProcess,
    told: readonly Peer[] | undefined,
    peers: readonly Peer[],
  ): readonly Peer[] {
    if (told !== undefined && samePeers(told, peers)) return told;
    const dueMs = (this.#toldMs.get(process) ?? Number.NEGATIVE_INFINITY) + this.#intervalMs;
    if (told === undefined || this.#nowMs >= dueMs || this.#isUrgent(told, peers)) {
      this.#toldMs.set(process, this.#nowMs);
      return peers;
    }
    this.#dueMs = Math.min(this.#dueMs, dueMs);
    return told;
  }

  /** After a look: how long until lists that wait are due; undefined: none waits. */
  get waitMs(): number | undefined {
    if (this.#dueMs === Number.POSITIVE_INFINITY) return undefined;
    return Math.max(this.#dueMs - this.#nowMs, this.#intervalMs / LOOKS);
  }

  /** Whom it knows among many relays may be others because of any node: that is not urgent. */
  #isUrgent(told: readonly Peer[], peers: readonly Peer[]): boolean {
    this.#ids ??= new Set(this.#members.map(({ process }) => process.id));
    const ids = this.#ids;
    const known = told.filter(({ id }) => ids.has(id));
    const [toldRelays, knownRelays] = [countOf(told, 'relay'), countOf(known, 'relay')];
    if (knownRelays < toldRelays || knownRelays < countOf(peers, 'relay')) return true;
    return countOf(known, 'agent') < ENOUGH;
  }
}

function countOf(peers: readonly Peer[], role: Peer['role']): number {
  return peers.reduce((count, peer) => count + Number(peer.role === role), 0);
}
