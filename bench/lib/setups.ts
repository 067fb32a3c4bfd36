/** The set-ups of bench/swarm.ts, as data. PURE. */
import type { Delivery } from './controlServer.ts';
import { type FluidBound, fluidBound } from './fluidBound.ts';

/** Mbit/s, each way. */
export interface LinkRates {
  readonly down: number;
  readonly up: number;
}

export interface Setup {
  readonly name: string;
  readonly about: string;
  readonly sizeMiB: number;
  /** Mbit/s of the origin's link, both ways. */
  readonly origin: number;
  readonly relays: readonly LinkRates[];
  readonly nodes: readonly LinkRates[];
  /** So many of the nodes, the last ones, begin when the others have half of their bytes. */
  readonly lateNodes?: number;
  /** The first relay is killed when the nodes have half of their bytes. */
  readonly killsRelay?: boolean;
  /** Other than what follows from the size; for Sluice alone. */
  readonly pieceLengthBytes?: number;
  /** Other than what all processes deliver before a run of Sluice. */
  readonly warmUpMiB?: number;
  /** What the user says of speed; for Sluice alone. */
  readonly delivery?: Delivery;
}

const MBIT_BYTES = 125_000;

const both = (rate: number): LinkRates => ({ down: rate, up: rate });
const times = (count: number, link: LinkRates): LinkRates[] =>
  Array.from({ length: count }, () => link);

export const SETUPS: readonly Setup[] = [
  {
    name: 'a',
    about: 'origin-bound: one copy through the origin takes longest',
    sizeMiB: 256,
    origin: 100,
    relays: times(2, both(200)),
    nodes: times(16, both(100)),
  },
  {
    name: 'b',
    about: 'upload-bound: nodes give a fifth of what they take',
    sizeMiB: 256,
    origin: 100,
    relays: times(2, both(200)),
    nodes: times(16, { down: 100, up: 20 }),
  },
  {
    name: 'c',
    about: 'a relay that gives an eighth of what its nodes could take',
    sizeMiB: 256,
    origin: 200,
    relays: [{ down: 200, up: 100 }],
    nodes: times(8, both(100)),
  },
  {
    name: 'd',
    about: 'a quarter of the nodes join when the others have half',
    sizeMiB: 128,
    origin: 100,
    relays: times(2, both(200)),
    nodes: times(12, both(100)),
    lateNodes: 3,
  },
  {
    name: 'e',
    about: 'one of two relays is killed when the nodes have half',
    sizeMiB: 128,
    origin: 100,
    relays: times(2, both(200)),
    nodes: times(12, both(100)),
    killsRelay: true,
  },
  {
    name: 'f',
    about: 'one node in four has a tenth of the rate',
    sizeMiB: 64,
    origin: 100,
    relays: times(2, both(200)),
    nodes: Array.from({ length: 12 }, (_, at) => both(at % 4 === 3 ? 10 : 100)),
  },
  {
    name: 'g',
    about: 'four relays pull the one copy together',
    sizeMiB: 128,
    origin: 100,
    relays: times(4, both(200)),
    nodes: times(8, both(100)),
  },
];

/** For machines that the whole of a set-up would keep too busy. */
export interface Scale {
  /** Times every rate: ratios stay. */
  readonly rateShare: number;
  /** Of the nodes, from the first on; those that come late are fewer likewise. */
  readonly nodeShare: number;
}

/** A smaller one has the number of its nodes in its name: it is another set-up. */
export function scaled(setup: Setup, { rateShare, nodeShare }: Scale): Setup {
  const link = ({ down, up }: LinkRates): LinkRates => ({
    down: down * rateShare,
    up: up * rateShare,
  });
  const count = Math.round(setup.nodes.length * nodeShare);
  return {
    ...setup,
    ...(nodeShare !== 1 && { name: `${setup.name}-${count}nodes` }),
    origin: setup.origin * rateShare,
    relays: setup.relays.map(link),
    nodes: setup.nodes.slice(0, count).map(link),
    ...(setup.lateNodes !== undefined && { lateNodes: Math.round(setup.lateNodes * nodeShare) }),
  };
}

export function sizeBytesOf({ sizeMiB }: Pick<Setup, 'sizeMiB'>): number {
  return sizeMiB * 1024 * 1024;
}

/** Of all nodes at once; what comes late or dies is not in it. */
export function boundOf(setup: Setup): FluidBound {
  return fluidBound({
    sizeBytes: sizeBytesOf(setup),
    originRate: setup.origin * MBIT_BYTES,
    relayUpRates: setup.relays.map(({ up }) => up * MBIT_BYTES),
    nodes: setup.nodes.map(({ down, up }) => ({
      downRate: down * MBIT_BYTES,
      upRate: up * MBIT_BYTES,
    })),
  });
}

/** A sentence. Mbit/s down/up. */
export function describeLinks({ origin, relays, nodes }: Setup): string {
  const kinds = (links: readonly LinkRates[], name: string) => {
    const counts = new Map<string, number>();
    for (const { down, up } of links) {
      counts.set(`${down}/${up}`, (counts.get(`${down}/${up}`) ?? 0) + 1);
    }
    return [...counts].map(([rates, count]) => `${count} ${name} ${rates}`);
  };
  const parts = [`origin ${origin}`, ...kinds(relays, 'relays'), ...kinds(nodes, 'nodes')];
  return `Mbit/s down/up: ${parts.join(', ')}.`;
}

export function bytesPerSecond(megabits: number): number {
  return megabits * MBIT_BYTES;
}
