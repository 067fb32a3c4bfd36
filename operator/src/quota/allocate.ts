/**
 * Shares what an origin allows among those who want it: max-min fair, weighted by priority. PURE.
 *
 * A rate of r bytes per second costs a window of r x 1 s + slack, because the origin may emit what
 * is outstanding at once and then the rate for a second. Slack is what must be outstanding to keep
 * the rate up: rate x (time to first byte + quantum).
 */

/** Above the time to first byte, what may be outstanding, as time at the rate. */
export const LONGEST_QUANTUM_MS = 32;
/** Timers and busy processors are late by so much; under it a bucket would overflow too often. */
const SHORTEST_QUANTUM_MS = 24;
/**
 * Time to first byte + quantum that leaves 95.2 % of a limit to be used, 1 / (1 s + 48 ms + 2 ms for
 * the drift of clocks and a measurement that is rounded up): shorter quanta where that is kept to.
 */
const OUTSTANDING_MS = 48;
/** Between the end of an answer and the next request over its connection. */
const GAP_MS = 3;
const MIN_QUANTUM_BYTES = 4_096;
export const DEFAULT_TIME_TO_FIRST_BYTE_MS = 50;
/** Slower answers cost the holder speed, not the others their share. */
const MAX_TIME_TO_FIRST_BYTE_MS = 500;
/** Under this a lease is not worth its headers. */
export const MIN_RATE_BYTES_PER_SECOND = 16_384;

export interface Claim {
  readonly id: string;
  readonly weight: number;
  readonly wantRateBytesPerSecond: number;
  readonly wantConnections: number;
  /** Measured; undefined is 50. */
  readonly timeToFirstByteMs: number | undefined;
}

/** Max-min is between claims of one kind; between the kinds pulls come first. */
export interface PurposedClaim extends Claim {
  readonly purpose: 'pull' | 'topUp';
  /** It has a lease now. */
  readonly isHolding: boolean;
}

/**
 * As time at the rate. A connection carries one request at a time, and a request may be for a
 * part of the slack, 1/(connections + 1) of it, since as much is saved up meanwhile. So that all
 * of them keep the rate up, connections x (latency + quantum) / (connections + 1) >= latency + gap.
 * That counts for one or two connections to a slow origin.
 */
function quantumMs(latencyMs: number, connections: number): number {
  const count = Math.max(1, connections);
  const carrying = latencyMs / count + (GAP_MS * (count + 1)) / count;
  const sparing = Math.min(LONGEST_QUANTUM_MS, OUTSTANDING_MS - latencyMs);
  return Math.max(SHORTEST_QUANTUM_MS, sparing, carrying);
}

export interface Share {
  readonly rateBytesPerSecond: number;
  readonly connections: number;
}

export function slackFor(
  rate: number,
  timeToFirstByteMs: number | undefined,
  connections: number,
): number {
  const latencyMs = countedLatencyMs(timeToFirstByteMs);
  const quantum = Math.max(MIN_QUANTUM_BYTES, (rate * quantumMs(latencyMs, connections)) / 1000);
  return Math.ceil((rate * latencyMs) / 1000 + quantum);
}

function countedLatencyMs(timeToFirstByteMs = DEFAULT_TIME_TO_FIRST_BYTE_MS): number {
  return Math.min(timeToFirstByteMs, MAX_TIME_TO_FIRST_BYTE_MS);
}

/** The largest rate whose rate x 1 s + slack fits into a window of so many bytes; 0 if none does. */
export function rateWithin(
  windowBytes: number,
  timeToFirstByteMs: number | undefined,
  connections: number,
): number {
  if (windowBytes === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  // The quantum is its share of the rate or the smallest one: the rate has to fit with either.
  const perRate = slackFor(1e9, timeToFirstByteMs, connections) / 1e9;
  const latencyMs = countedLatencyMs(timeToFirstByteMs);
  const bySmallest = (windowBytes - MIN_QUANTUM_BYTES) / (1 + latencyMs / 1000);
  let rate = Math.floor(Math.min(windowBytes / (1 + perRate), bySmallest));
  // Slack is rounded up.
  while (rate > 0 && rate + slackFor(rate, timeToFirstByteMs, connections) > windowBytes) rate -= 1;
  return Math.max(0, rate);
}

/** What each claim may have when all of them hold leases. Rates by window, so that slack fits. */
export function shares(
  claims: readonly Claim[],
  limits: { readonly windowBytes: number; readonly connections: number },
): Map<string, Share> {
  const connections = wholeShares(
    claims.map(({ weight, wantConnections }) => ({ weight, want: wantConnections })),
    limits.connections,
  );
  const windows = maxMin(
    claims.map((claim, at) => {
      const { weight, wantRateBytesPerSecond: want, timeToFirstByteMs } = claim;
      const own = connections[at] ?? 0;
      // Who has to wait for a connection would keep bytes from the others that nobody takes.
      return { weight, want: own === 0 ? 0 : want + slackFor(want, timeToFirstByteMs, own) };
    }),
    limits.windowBytes,
  );
  return new Map(
    claims.map((claim, at) => {
      const own = connections[at] ?? 0;
      const within = rateWithin(windows[at] ?? 0, claim.timeToFirstByteMs, own);
      const rateBytesPerSecond = Math.min(claim.wantRateBytesPerSecond, within);
      return [claim.id, { rateBytesPerSecond, connections: own }];
    }),
  );
}

/** What nodes that are short get at least while they want it: the rest is for pulls. */
const TOP_UP_PART = 0.1;
/** Bytes per second: where less would be left for each, fewer nodes have a turn at once. */
export const WORTH_A_TURN = 65_536;

/**
 * What each claim may have: pulls first, because what they bring serves every node; top-up gets
 * what they leave, and a tenth when they want everything. Of top-up as many have a turn as there
 * are connections, those that have one now and then the first that asked; the others have no share.
 */
export function sharesByPurpose(
  claims: readonly PurposedClaim[],
  limits: { readonly windowBytes: number; readonly connections: number },
): Map<string, Share> {
  const pulls = claims.filter(({ purpose }) => purpose === 'pull');
  const topUps = claims.filter(({ purpose }) => purpose === 'topUp');
  if (topUps.length === 0) return shares(pulls, limits);
  const kept = {
    windowBytes: Math.min(limits.windowBytes * TOP_UP_PART, windowOf(topUps)),
    connections: limits.connections < 2 ? 0 : tenthOf(limits.connections, topUps.length),
  };
  const forPulls = shares(pulls, {
    windowBytes: limits.windowBytes - kept.windowBytes,
    connections: limits.connections - kept.connections,
  });
  const left = { ...limits };
  for (const { id, timeToFirstByteMs } of pulls) {
    const { rateBytesPerSecond, connections } = forPulls.get(id) as Share;
    left.windowBytes -=
      rateBytesPerSecond + slackFor(rateBytesPerSecond, timeToFirstByteMs, connections);
    left.connections -= connections;
  }
  const turns = Math.min(
    Math.max(0, left.connections),
    Math.max(1, Math.floor(left.windowBytes / WORTH_A_TURN)),
  );
  const inOrder = [
    ...topUps.filter(({ isHolding }) => isHolding),
    ...topUps.filter(({ isHolding }) => !isHolding),
  ].slice(0, turns);
  return new Map([...forPulls, ...shares(inOrder, left)]);
}

function tenthOf(connections: number, wanted: number): number {
  return Math.min(Math.max(1, Math.floor(connections * TOP_UP_PART)), wanted);
}

function windowOf(claims: readonly Claim[]): number {
  return claims.reduce(
    (sum, { wantRateBytesPerSecond: want, timeToFirstByteMs }) =>
      sum + want + slackFor(want, timeToFirstByteMs, 1),
    0,
  );
}

interface Want {
  readonly weight: number;
  readonly want: number;
}

/** Max-min fairness: who wants less than his share gets it, the rest is shared again. */
export function maxMin(wants: readonly Want[], total: number): number[] {
  const given = wants.map(() => 0);
  let open = wants.map((_, at) => at);
  let left = total;
  while (open.length > 0) {
    const weight = open.reduce((sum, at) => sum + (wants[at] as Want).weight, 0);
    const among = left;
    const unsatisfied: number[] = [];
    for (const at of open) {
      const { want, weight: own } = wants[at] as Want;
      if (want > (among * own) / weight) unsatisfied.push(at);
      else {
        given[at] = want;
        left -= want;
      }
    }
    if (unsatisfied.length === open.length) {
      for (const at of open) given[at] = (among * (wants[at] as Want).weight) / weight;
      return given;
    }
    open = unsatisfied;
  }
  return given;
}

/** The same in whole numbers: what rounding leaves goes to the first who want it. */
function wholeShares(wants: readonly Want[], total: number): number[] {
  if (total === Number.POSITIVE_INFINITY) return wants.map(({ want }) => want);
  const exact = maxMin(wants, total);
  const given = exact.map((share) => Math.floor(share + 1e-9));
  let left = total - given.reduce((sum, share) => sum + share, 0);
  for (const [at, { want }] of wants.entries()) {
    if (left <= 0) break;
    if ((given[at] as number) < want) {
      given[at] = (given[at] as number) + 1;
      left -= 1;
    }
  }
  return given;
}
