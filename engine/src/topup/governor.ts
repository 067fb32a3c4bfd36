/*
 * topup/ compares a node's speed with its floor and says how much to fetch over HTTP, and from
 * whom. Pure: the session measures, asks every 100 ms, and fetches.
 */

export interface GovernorInput {
  readonly nowMs: number;
  /** Undefined: no floor; then only a node that starves is helped. */
  readonly minRateBytesPerSecond: number | undefined;
  /** Payload that peers brought, and the help that is asked before this one, cumulative. */
  readonly ownBytes: number;
  /** Payload that this help brought, cumulative. */
  readonly helpBytes: number;
  /** There are pieces that the feed names and the node lacks: for those the floor is owed. */
  readonly owed: boolean;
  /** What this help has under way and will bring within a second. */
  readonly expectedBytes: number;
}

interface Sample {
  readonly atMs: number;
  readonly ownBytes: number;
  readonly helpBytes: number;
}

export interface GovernorState {
  readonly mode: 'idle' | 'toppingUp';
  /** At most a second old, oldest first; from when the floor was owed. */
  readonly samples: readonly Sample[];
  /** Bytes short of the floor so far, to repay; negative is credit. At most one second's worth. */
  readonly debtBytes: number;
  /** Since when the node is clearly above the floor without help. */
  readonly aboveSinceMs: number | undefined;
  /** When a byte last came without this help, or the floor began to be owed. */
  readonly movedAtMs: number;
}

const WINDOW_MS = 1000;
/** Speed over less time says nothing. */
const MIN_WINDOW_MS = 300;
/** Topping up ends when the node was this much above the floor without help for so long. */
const ENOUGH = 1.2;
const ENOUGH_MS = 5000;
/** No byte without help for so long: what should bring them is blocked or gone. */
const STARVING_MS = 3000;
/** Under way at most at a node that help alone carries, without a floor. */
export const STARVING_BYTES = 32 * 1024 * 1024;
/**
 * Aims above the floor: what comes in pieces leaves windows uneven. With 1.1 those of a node that a
 * slow relay and the origin help were up to a twentieth under it, half a second of a transfer.
 */
const AIM = 1.15;
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
  /** Bytes to ask for now, beyond what is under way; zero: nothing. */
  readonly wantBytes: number;
  /** The same as a speed, for help that is asked for so; zero: none. */
  readonly wantRateBytesPerSecond: number;
  /** Over the last second the node was under its floor, this help included. */
  readonly isShort: boolean;
}

const NOTHING = { wantBytes: 0, wantRateBytesPerSecond: 0, isShort: false } as const;

export function govern(state: GovernorState, input: GovernorInput): GovernorVerdict {
  const { nowMs, ownBytes, helpBytes, owed } = input;
  if (!owed) return { ...NOTHING, state: { ...INITIAL_GOVERNOR, mode: state.mode } };
  const sample = { atMs: nowMs, ownBytes, helpBytes };
  const newest = state.samples.at(-1);
  const moved = newest === undefined || ownBytes > newest.ownBytes;
  const movedAtMs = moved ? nowMs : state.movedAtMs;
  const samples = [...trimmed(state.samples, nowMs), sample];
  const next = { ...state, samples, movedAtMs };

  const floor = input.minRateBytesPerSecond;
  if (floor !== undefined) return withFloor(next, floor, input, newest);
  const starving = nowMs - movedAtMs > STARVING_MS;
  const idle = { ...next, mode: 'idle', debtBytes: 0, aboveSinceMs: undefined } as const;
  if (!starving) return { ...NOTHING, state: idle };
  return {
    state: { ...idle, mode: 'toppingUp' },
    wantBytes: Math.max(0, STARVING_BYTES - input.expectedBytes),
    wantRateBytesPerSecond: STARVING_BYTES,
    isShort: true,
  };
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
  if (windowMs < MIN_WINDOW_MS || previous === undefined) return { ...NOTHING, state };

  const own = input.ownBytes - oldest.ownBytes;
  const help = input.helpBytes - oldest.helpBytes;
  const owedInWindow = (floor * windowMs) / 1000;
  const isShort = own + help < owedInWindow;

  const stepMs = nowMs - previous.atMs;
  const arrived = input.ownBytes + input.helpBytes - previous.ownBytes - previous.helpBytes;
  const due = (floor * AIM * stepMs) / 1000;
  const debtBytes = clamp(state.debtBytes + due - arrived, -floor * MAX_CREDIT, floor);

  const enough = own > owedInWindow * ENOUGH;
  const aboveSinceMs = enough ? (state.aboveSinceMs ?? nowMs) : undefined;
  const done = aboveSinceMs !== undefined && nowMs - aboveSinceMs >= ENOUGH_MS;
  const mode = isShort || (state.mode === 'toppingUp' && !done) ? 'toppingUp' : 'idle';
  const next = { ...state, mode, debtBytes, aboveSinceMs } as const;
  if (mode === 'idle') return { ...NOTHING, state: next };
  // What was missed is asked for at once, and what falls due until it is here.
  const missing = debtBytes + (floor * AIM * LEAD_MS) / 1000 - input.expectedBytes;
  // What the node gets without help, by what came just now, is not asked for; what was missed is
  // repaid within a second.
  const recent = state.samples.findLast(({ atMs }) => nowMs - atMs >= MIN_WINDOW_MS) ?? oldest;
  const ownRate = ((input.ownBytes - recent.ownBytes) * 1000) / (nowMs - recent.atMs);
  const rate = floor * AIM - ownRate + Math.max(0, debtBytes);
  return {
    state: next,
    wantBytes: Math.max(0, Math.ceil(missing)),
    wantRateBytesPerSecond: Math.max(0, Math.ceil(rate)),
    isShort,
  };
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
