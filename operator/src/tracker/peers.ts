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

/** By id: its peers among the members, in the order of their ids. */
export function neighbours<M extends Member>(members: readonly M[]): Map<string, M[]> {
  const graph = new Graph(members);
  if (members.length <= FULL_MESH) {
    graph.mesh(graph.all);
    return graph.lists();
  }
  const relays = graph.byDomain('relay');
  const agents = graph.byDomain('agent');
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

/**
 * Members by their place in the order of ids: of ten thousand there are a quarter of a million edges,
 * found anew while they come.
 */
class Graph<M extends Member> {
  readonly #members: readonly M[];
  /** By place: places of those that it knows, some of them twice. */
  readonly #edges: number[][];

  constructor(members: readonly M[]) {
    this.#members = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
    this.#edges = members.map(() => []);
  }

  get all(): number[] {
    return [...this.#members.keys()];
  }

  /** Places of members of one kind; domains in the order of their names. */
  byDomain(kind: ProcessKind): Map<string, number[]> {
    const domains = new Map<string, number[]>();
    this.#members.forEach((member, place) => {
      if (member.kind !== kind) return;
      const list = domains.get(member.domain);
      if (list === undefined) domains.set(member.domain, [place]);
      else list.push(place);
    });
    return new Map([...domains].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  lists(): Map<string, M[]> {
    return new Map(
      this.#members.map(({ id }, place) => {
        const places = Uint32Array.from(this.#edges[place] as number[]).sort();
        const peers: M[] = [];
        places.forEach((peer, at) => {
          if (peer !== places[at - 1]) peers.push(this.#members[peer] as M);
        });
        return [id, peers];
      }),
    );
  }

  mesh(places: readonly number[]): void {
    places.forEach((one, at) => {
      for (const other of places.slice(at + 1)) this.#join(one, other);
    });
  }

  /** Neighbours at distances that double: connected, and few steps from one to any other. */
  ring(places: readonly number[]): void {
    if (places.length <= 2 * JUMPS) {
      this.mesh(places);
      return;
    }
    for (const jump of jumps(places.length)) {
      places.forEach((one, at) => {
        this.#join(one, places[(at + jump) % places.length] as number);
      });
    }
  }

  /** Joins two domains of different sizes evenly, with as many edges as the smaller has members. */
  ladder(ones: readonly number[], others: readonly number[]): void {
    const count = Math.min(ones.length, others.length);
    for (let at = 0; at < count; at += 1) {
      const one = ones[Math.floor((at * ones.length) / count)] as number;
      const other = others[Math.floor((at * others.length) / count)] as number;
      if (one !== other) this.#join(one, other);
    }
  }

  serve(agents: readonly number[], relays: readonly number[]): void {
    if (relays.length === 0) return;
    const fits = Math.floor((AGENTS_PER_RELAY * relays.length) / Math.max(1, agents.length));
    const each = Math.min(relays.length, Math.max(1, Math.min(MAX_RELAYS_PER_AGENT, fits)));
    const known = new Map(relays.map((relay) => [relay, new Set(this.#edges[relay]).size]));
    agents.forEach((agent, at) => {
      for (let turn = 0; turn < each; turn += 1) {
        const relay = relays[(at + turn) % relays.length] as number;
        // Who downloads opens the connection: a relay that knows enough nodes serves the others, too.
        this.#know(agent, relay);
        const count = known.get(relay) as number;
        if (count >= MAX_PEERS) continue;
        known.set(relay, count + 1);
        this.#know(relay, agent);
      }
    });
  }

  #join(one: number, other: number): void {
    this.#know(one, other);
    this.#know(other, one);
  }

  #know(one: number, other: number): void {
    this.#edges[one]?.push(other);
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
