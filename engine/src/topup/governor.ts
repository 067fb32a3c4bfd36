/*
 * topup/ compares a node's speed with its floor and says how much to fetch over HTTP. Pure: the
 * session measures, asks every 100 ms, and fetches.
 */

export interface GovernorInput {
  readonly nowMs: number;
  /** Undefined: no floor; then only a node that starves is helped. */
  readonly minRateBytesPerSecond: number | undefined;
  /** Payload received over BitTorrent, cumulative. */
  readonly bitTorrentBytes: number;
  /** Payload received over HTTP, cumulative. */
  readonly httpBytes: number;
  /** There are pieces that the feed names and the node lacks: for those the floor is owed. */
  readonly owed: boolean;
  /** What the HTTP requests under way will bring within a second. */
  readonly expectedBytes: number;
}

interface Sample {
  readonly atMs: number;
  readonly bitTorrentBytes: number;
  readonly httpBytes: number;
}

export interface GovernorState {
  readonly mode: 'idle' | 'toppingUp';
  /** At most a second old, oldest first; from when the floor was owed. */
  readonly samples: readonly Sample[];
  /** Bytes short of the floor so far, to repay; negative is credit. At most one second's worth. */
  readonly debtBytes: number;
  /** Since when BitTorrent alone is clearly above the floor. */
  readonly aboveSinceMs: number | undefined;
  /** When BitTorrent last brought a byte, or the floor began to be owed. */
  readonly movedAtMs: number;
}

const WINDOW_MS = 1000;
/** Speed over less time says nothing. */
const MIN_WINDOW_MS = 300;
/** Topping up ends when BitTorrent alone was this much above the floor for so long. */
const ENOUGH = 1.2;
const ENOUGH_MS = 5000;
/** No byte over BitTorrent for so long: it is blocked, and relays carry the node. */
const STARVING_MS = 3000;
/** Under way at most at a node without a floor that starves. */
const STARVING_BYTES = 32 * 1024 * 1024;
/** Aims a little above the floor, so that measured windows do not fall under it. */
const AIM = 1.05;
/** Asked for ahead: about how long a fetch takes to bring something. */
const LEAD_MS = 100;
/**
 * What came above the floor, a whole large piece perhaps, excuses this much of a second afterwards
 * and no more: the floor is for every second, not for the average.
 */
const MAX_CREDIT = 0.8;

export const INITIAL_GOVERNOR: GovernorState = {
  mode: 'idle',
  samples: [],
  debtBytes: 0,
  aboveSinceMs: undefined,
  movedAtMs: 0,
};

export interface GovernorVerdict {
  readonly state: GovernorState;
  /** Bytes to ask relays for now, beyond what is under way; zero: nothing. */
  readonly wantBytes: number;
}

export function govern(state: GovernorState, input: GovernorInput): GovernorVerdict {
  const { nowMs, bitTorrentBytes, httpBytes, owed } = input;
  if (!owed) {
    const mode = state.mode;
    return { state: { ...INITIAL_GOVERNOR, mode }, wantBytes: 0 };
  }
  const sample = { atMs: nowMs, bitTorrentBytes, httpBytes };
  const newest = state.samples.at(-1);
  const moved = newest === undefined || bitTorrentBytes > newest.bitTorrentBytes;
  const movedAtMs = moved ? nowMs : state.movedAtMs;
  const samples = [...trimmed(state.samples, nowMs), sample];
  const next = { ...state, samples, movedAtMs };
  const starving = nowMs - movedAtMs > STARVING_MS;

  const floor = input.minRateBytesPerSecond;
  if (floor === undefined) {
    const mode = starving ? 'toppingUp' : 'idle';
    const wantBytes = starving ? Math.max(0, STARVING_BYTES - input.expectedBytes) : 0;
    return { state: { ...next, mode, debtBytes: 0, aboveSinceMs: undefined }, wantBytes };
  }
  return withFloor(next, floor, input, newest);
}

function withFloor(
  state: GovernorState,
  floor: number,
  input: GovernorInput,
  previous: Sample | undefined,
): GovernorVerdict {
  const { nowMs } = input;
  const oldest = state.samples[0] as Sample;
  const windowMs = nowMs - oldest.atMs;
  if (windowMs < MIN_WINDOW_MS || previous === undefined) return { state, wantBytes: 0 };

  const bitTorrent = input.bitTorrentBytes - oldest.bitTorrentBytes;
  const http = input.httpBytes - oldest.httpBytes;
  const owedInWindow = (floor * windowMs) / 1000;
  const short = bitTorrent + http < owedInWindow;

  const stepMs = nowMs - previous.atMs;
  const arrived =
    input.bitTorrentBytes + input.httpBytes - previous.bitTorrentBytes - previous.httpBytes;
  const due = (floor * AIM * stepMs) / 1000;
  const debtBytes = clamp(state.debtBytes + due - arrived, -floor * MAX_CREDIT, floor);

  const enough = bitTorrent > owedInWindow * ENOUGH;
  const aboveSinceMs = enough ? (state.aboveSinceMs ?? nowMs) : undefined;
  const done = aboveSinceMs !== undefined && nowMs - aboveSinceMs >= ENOUGH_MS;
  const mode = short || (state.mode === 'toppingUp' && !done) ? 'toppingUp' : 'idle';
  const next = { ...state, mode, debtBytes, aboveSinceMs } as const;
  if (mode === 'idle') return { state: next, wantBytes: 0 };
  // What was missed is asked for at once, and what falls due until it is here.
  const missing = debtBytes + (floor * AIM * LEAD_MS) / 1000 - input.expectedBytes;
  return { state: next, wantBytes: Math.max(0, Math.ceil(missing)) };
}

/** Keeps one sample at or before the start of the window, so that the window is whole. */
function trimmed(samples: readonly Sample[], nowMs: number): readonly Sample[] {
  let from = 0;
  while ((samples[from + 1]?.atMs ?? nowMs) <= nowMs - WINDOW_MS) from += 1;
  return samples.slice(from);
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
