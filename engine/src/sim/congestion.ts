/**
 * How much a TCP flow may have on the way: CUBIC with HyStart, without losses, as far as a swarm
 * notices it. It begins with ten segments and doubles each round trip until answers take longer,
 * which is soon when they wait behind what their host sends. Then it grows by little. PURE.
 */
export interface CongestionState {
  readonly windowBytes: number;
  readonly isSlowStart: boolean;
  /** The shortest answer so far. */
  readonly minRoundTripMs: number;
  /** When it left slow start, and with which window. */
  readonly leftAtMs: number;
  readonly leftBytes: number;
  readonly heardAtMs: number;
}

const SEGMENT_BYTES = 1_448;
const FIRST_WINDOW_BYTES = 10 * SEGMENT_BYTES;
/** HyStart leaves no smaller window. */
const MIN_LEFT_BYTES = 16 * SEGMENT_BYTES;
/** What the kernels' buffers let it grow to. */
const MAX_WINDOW_BYTES = 4 * 1024 * 1024;
/** HyStart (tcp_cubic.c): an eighth of the shortest round trip, within these. */
const MIN_RISE_MS = 4;
const MAX_RISE_MS = 16;
/** RFC 9438: C, and the growth of a flow as Reno would have it. */
const CUBIC_C = 0.4;
const RENO_SHARE = 0.53;
/** The shortest retransmission timeout: for each of them that it rests a flow loses half. */
const REST_MS = 200;

export function firstState(nowMs: number): CongestionState {
  return {
    windowBytes: FIRST_WINDOW_BYTES,
    isSlowStart: true,
    minRoundTripMs: Number.POSITIVE_INFINITY,
    leftAtMs: 0,
    leftBytes: 0,
    heardAtMs: nowMs,
  };
}

/** Before it sends again after nothing was on the way. */
export function idleState(state: CongestionState, nowMs: number): CongestionState {
  const rests = Math.floor((nowMs - state.heardAtMs) / REST_MS);
  if (rests === 0) return state;
  const windowBytes = Math.max(FIRST_WINDOW_BYTES, state.windowBytes / 2 ** rests);
  return { ...state, windowBytes, isSlowStart: true, heardAtMs: nowMs };
}

export function acknowledged(
  state: CongestionState,
  answer: { readonly bytes: number; readonly sentAtMs: number; readonly nowMs: number },
): CongestionState {
  const { bytes, sentAtMs, nowMs } = answer;
  const roundTripMs = nowMs - sentAtMs;
  const minRoundTripMs = Math.min(state.minRoundTripMs, roundTripMs);
  const heard = { ...state, minRoundTripMs, heardAtMs: nowMs };
  if (state.isSlowStart) {
    const windowBytes = Math.min(MAX_WINDOW_BYTES, state.windowBytes + bytes);
    const riseMs = Math.min(MAX_RISE_MS, Math.max(MIN_RISE_MS, minRoundTripMs / 8));
    const isLate = roundTripMs > minRoundTripMs + riseMs && windowBytes >= MIN_LEFT_BYTES;
    if (!isLate) return { ...heard, windowBytes };
    return { ...heard, windowBytes, isSlowStart: false, leftAtMs: nowMs, leftBytes: windowBytes };
  }
  const seconds = (nowMs - state.leftAtMs) / 1000;
  const cubicBytes = state.leftBytes + CUBIC_C * seconds ** 3 * SEGMENT_BYTES;
  const renoBytes = state.windowBytes + (RENO_SHARE * SEGMENT_BYTES * bytes) / state.windowBytes;
  return { ...heard, windowBytes: Math.min(MAX_WINDOW_BYTES, Math.max(cubicBytes, renoBytes)) };
}
