/** What bench/limits.ts measures: limits, connections, holders and latencies. PURE. */

/** An origin with its limit, and who takes from it. */
export interface Cell {
  readonly name: string;
  /** MB/s (10^6), headers included. */
  readonly limit: number;
  readonly connections: number;
  /** Processes that have leases at the same time. */
  readonly holders: number;
  readonly timeToFirstByteMs: number;
  /** The origin writes nothing for so long at the begin of each period, then all at once. */
  readonly stall?: { readonly everyMs: number; readonly forMs: number };
}

/** Cells that run at the same time, each at an origin of its own: what two cores bear. */
export interface Group {
  readonly name: string;
  readonly cells: readonly Cell[];
}

const LATENCIES_MS = [0, 20, 100];
const CONNECTIONS = [1, 8, 64];
/** MB/s: up to it cells run together. */
const SLOW_LIMITS = [1, 5, 20];
const STALL = { everyMs: 1500, forMs: 700 };

function cell(limit: number, connections: number, timeToFirstByteMs: number): Cell {
  // One connection has one holder; the others share in some cells and not in others.
  const isShared = limit < 100 ? connections === 64 : connections === 8;
  const holders = isShared ? 4 : 1;
  const who = `${connections} connection${connections > 1 ? 's' : ''}, ${holders} holder${holders > 1 ? 's' : ''}`;
  const name = `${limit} MB/s, ${who}, first byte after ${timeToFirstByteMs} ms`;
  return { name, limit, connections, holders, timeToFirstByteMs };
}

function stalling(limit: number, connections: number): Cell {
  const steady = cell(limit, connections, 0);
  const name = steady.name.replace(/first byte.*/, 'stalls and bursts');
  return { ...steady, name, stall: STALL };
}

export const GROUPS: readonly Group[] = [
  ...LATENCIES_MS.flatMap((latency): Group[] => [
    {
      name: `slow-${latency}`,
      cells: SLOW_LIMITS.flatMap((limit) => CONNECTIONS.map((each) => cell(limit, each, latency))),
    },
    { name: `50-${latency}`, cells: CONNECTIONS.map((each) => cell(50, each, latency)) },
    ...[100, 200].flatMap((limit) =>
      CONNECTIONS.map((each): Group => {
        return { name: `${limit}-${each}-${latency}`, cells: [cell(limit, each, latency)] };
      }),
    ),
  ]),
  {
    name: 'stalls',
    cells: [stalling(1, 8), stalling(20, 1), stalling(20, 8), stalling(20, 64), stalling(50, 8)],
  },
  { name: 'stalls-200', cells: [stalling(200, 8)] },
];

/** Of the design: rate x 1 s + what is outstanding fits into the limit. */
const LONGEST_QUANTUM_MS = 32;
const FAST_MS = 20;
const GOAL = 0.95;

/** What share of the limit is to be used at least; undefined while the origin stalls. */
export function goalOf({ timeToFirstByteMs, stall }: Cell): number | undefined {
  if (stall !== undefined) return undefined;
  if (timeToFirstByteMs <= FAST_MS) return GOAL;
  return 1000 / (1000 + timeToFirstByteMs + LONGEST_QUANTUM_MS);
}
