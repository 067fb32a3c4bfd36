/**
 * Which peers each process of a swarm should know. PURE, and the same for the same members.
 *
 * Who opens a connection is the only one that requests over it, so edges go both ways. Small
 * swarms are full meshes. In large ones an agent knows about 20 agents of its own domain, on a
 * ring with far jumps so that the graph is connected and a few steps wide; a few of other domains;
 * some relays of its own domain; relays know each other and, as far as a list goes, the agents that
 * know them.
 */
import type { ProcessKind } from '@sluice/protocol/messages.ts';

export interface Member {
  readonly id: string;
  readonly kind: ProcessKind;
  readonly domain: string;
}

const FULL_MESH = 48;
/** Each gives two neighbours. */
const JUMPS = 10;
const OTHER_DOMAINS = 3;
/** The most that a `peers` message may name. */
const MAX_PEERS = 256;
/** The other relays are in a relay's list, too. */
const AGENTS_PER_RELAY = 200;
const MAX_RELAYS_PER_AGENT = 4;

/** By id: the ids of its peers, in a fixed order. */
export function neighbours(members: readonly Member[]): Map<string, string[]> {
  const graph = new Graph(members);
  if (members.length <= FULL_MESH) {
    graph.mesh(members);
    return graph.lists();
  }
  const relays = byDomain(members.filter(({ kind }) => kind === 'relay'));
  const agents = byDomain(members.filter(({ kind }) => kind === 'agent'));
  graph.ring([...relays.values()].flat());
  for (const domain of agents.values()) graph.ring(domain);
  const domains = [...agents.keys()];
  domains.forEach((domain, at) => {
    const own = agents.get(domain) ?? [];
    for (const step of jumps(domains.length).slice(0, OTHER_DOMAINS)) {
      graph.ladder(own, agents.get(domains[(at + step) % domains.length] as string) ?? []);
    }
    const serving = relays.get(domain) ?? [...relays.values()].flat();
    graph.serve(own, serving);
  });
  return graph.lists();
}

class Graph {
  readonly #edges: Map<string, Set<string>>;

  constructor(members: readonly Member[]) {
    this.#edges = new Map(members.map(({ id }) => [id, new Set()]));
  }

  lists(): Map<string, string[]> {
    return new Map([...this.#edges].map(([id, peers]) => [id, [...peers].sort()]));
  }

  mesh(members: readonly Member[]): void {
    members.forEach((one, at) => {
      for (const other of members.slice(at + 1)) this.#join(one, other);
    });
  }

  /** Neighbours at distances that double: connected, and few steps from one to any other. */
  ring(members: readonly Member[]): void {
    if (members.length <= 2 * JUMPS) {
      this.mesh(members);
      return;
    }
    for (const jump of jumps(members.length)) {
      members.forEach((one, at) => {
        this.#join(one, members[(at + jump) % members.length] as Member);
      });
    }
  }

  /** Joins two domains of different sizes evenly, with as many edges as the smaller has members. */
  ladder(ones: readonly Member[], others: readonly Member[]): void {
    const count = Math.min(ones.length, others.length);
    for (let at = 0; at < count; at += 1) {
      const one = ones[Math.floor((at * ones.length) / count)] as Member;
      const other = others[Math.floor((at * others.length) / count)] as Member;
      if (one !== other) this.#join(one, other);
    }
  }

  serve(agents: readonly Member[], relays: readonly Member[]): void {
    if (relays.length === 0) return;
    const fits = Math.floor((AGENTS_PER_RELAY * relays.length) / Math.max(1, agents.length));
    const each = Math.min(relays.length, Math.max(1, Math.min(MAX_RELAYS_PER_AGENT, fits)));
    agents.forEach((agent, at) => {
      for (let turn = 0; turn < each; turn += 1) {
        const relay = relays[(at + turn) % relays.length] as Member;
        // Who downloads opens the connection: a relay that knows enough nodes serves the others, too.
        this.#know(agent, relay);
        if ((this.#edges.get(relay.id)?.size ?? 0) < MAX_PEERS) this.#know(relay, agent);
      }
    });
  }

  #join(one: Member, other: Member): void {
    this.#know(one, other);
    this.#know(other, one);
  }

  #know(one: Member, other: Member): void {
    this.#edges.get(one.id)?.add(other.id);
  }
}

/** 1, and then distances that grow by the same factor up to half of the ring. */
function jumps(count: number): number[] {
  const distances = new Set([1]);
  for (let step = 1; step < JUMPS; step += 1) {
    distances.add(Math.max(1, Math.round((count / 2) ** (step / (JUMPS - 1)))));
  }
  return [...distances];
}

function byDomain(members: readonly Member[]): Map<string, Member[]> {
  const domains = new Map<string, Member[]>();
  for (const member of [...members].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    const list = domains.get(member.domain);
    if (list === undefined) domains.set(member.domain, [member]);
    else list.push(member);
  }
  return new Map([...domains].sort(([a], [b]) => (a < b ? -1 : 1)));
}
