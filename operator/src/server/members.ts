import type { Peer } from '@sluice/protocol/messages.ts';
import type { DistributionPlan } from '../controllers/dataSide.ts';
import type { FleetProcess } from './fleetView.ts';
import { membersOf, peersOf } from './work.ts';

export interface Member {
  readonly process: FleetProcess;
  readonly domain: string;
}

/** By process id. */
export type Peers = ReadonlyMap<string, readonly Peer[]>;

interface Seen {
  readonly plan: DistributionPlan;
  readonly processes: readonly FleetProcess[];
  readonly members: readonly Member[];
}

/**
 * Who works on one distribution, and who knows whom there: found again when it may be others, and
 * not each time that something of it is told.
 */
export class Members {
  #seen: Seen | undefined;
  #graph: { readonly members: readonly Member[]; readonly peers: Peers } | undefined;

  /** `processes`: another array when they are others. */
  of(plan: DistributionPlan, processes: readonly FleetProcess[]): readonly Member[] {
    const known = this.#seen;
    if (known?.processes === processes && hasSameMembers(known.plan, plan)) return known.members;
    const members = membersOf(plan, processes);
    this.#seen = { plan, processes, members };
    return members;
  }

  /** Lists of the same members are the same lists. */
  peers(members: readonly Member[]): Peers {
    const known = this.#graph;
    if (known !== undefined && areSame(known.members, members)) return known.peers;
    const peers = peersOf(members);
    this.#graph = { members, peers };
    return peers;
  }
}

/** All of a plan that membersOf looks at; plans are made anew, lists of nodes seldom. */
function hasSameMembers(one: DistributionPlan, other: DistributionPlan): boolean {
  return (
    one.nodes === other.nodes &&
    one.suspend === other.suspend &&
    one.dedicatedRelays === other.dedicatedRelays &&
    one.record.uid === other.record.uid
  );
}

function areSame(some: readonly Member[], others: readonly Member[]): boolean {
  if (some === others) return true;
  return (
    some.length === others.length &&
    some.every(
      ({ process, domain }, at) => process === others[at]?.process && domain === others[at]?.domain,
    )
  );
}
