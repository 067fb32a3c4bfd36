/**
 * Who helps a node that is short, in the order that the user gave: each rung is asked for what the
 * node misses without it, and only when those before it do not bring enough.
 */
import { type GovernorState, govern, INITIAL_GOVERNOR, STARVING_BYTES } from './governor.ts';

export type HelpSource = 'relay' | 'origin';

export interface Rung {
  readonly source: HelpSource;
  /** Payload that it has brought, cumulative. */
  readonly receivedBytes: number;
  /** What it has under way and will bring within a second. */
  readonly expectedBytes: number;
  /** There is somebody to ask at the moment. */
  readonly isUsable: boolean;
}

export interface LadderInput {
  readonly nowMs: number;
  /** Undefined: no floor; then only a node that starves is helped. */
  readonly minRateBytesPerSecond: number | undefined;
  /** Payload received over BitTorrent, cumulative. */
  readonly bitTorrentBytes: number;
  /** There are pieces that the feed names and the node lacks: for those the floor is owed. */
  readonly owed: boolean;
  /** The first is asked first. */
  readonly rungs: readonly Rung[];
  /** Nothing is expected of BitTorrent: the first rung carries the node all the time. */
  readonly isCarried: boolean;
}

interface RungState {
  readonly source: HelpSource;
  readonly governor: GovernorState;
  /** Since when the node is short although this rung helps. */
  readonly shortSinceMs: number | undefined;
}

export interface LadderState {
  readonly rungs: readonly RungState[];
}

export const INITIAL_LADDER: LadderState = { rungs: [] };

/** What to ask of a rung. */
export interface Want {
  /** Beyond what is under way. */
  readonly bytes: number;
  readonly rateBytesPerSecond: number;
}

export interface LadderVerdict {
  readonly state: LadderState;
  readonly wants: Readonly<Partial<Record<HelpSource, Want>>>;
}

/**
 * How long a rung that helps may leave the node short before the next one is asked: a request of
 * its own with its answer, and so little that a floor is missed for two seconds at most.
 */
const PATIENCE_MS = 300;

export function climb(state: LadderState, input: LadderInput): LadderVerdict {
  const { nowMs, minRateBytesPerSecond, owed } = input;
  const rungs: RungState[] = [];
  const wants: Partial<Record<HelpSource, Want>> = {};
  let ownBytes = input.bitTorrentBytes;
  let isDue = true;
  let { isCarried } = input;
  for (const { source, receivedBytes, expectedBytes, isUsable } of input.rungs) {
    if (isCarried) {
      isCarried = false;
      ownBytes += receivedBytes;
      if (owed && isUsable) wants[source] = carrying(expectedBytes);
      continue;
    }
    const known = state.rungs.find((each) => each.source === source);
    const verdict = govern(known?.governor ?? INITIAL_GOVERNOR, {
      nowMs,
      minRateBytesPerSecond,
      ownBytes,
      helpBytes: receivedBytes,
      expectedBytes,
      owed,
    });
    const isHelping: boolean = verdict.state.mode === 'toppingUp';
    const shortSinceMs = verdict.isShort && isHelping ? (known?.shortSinceMs ?? nowMs) : undefined;
    rungs.push({ source, governor: verdict.state, shortSinceMs });
    if (isDue && isUsable && verdict.wantRateBytesPerSecond + verdict.wantBytes > 0) {
      wants[source] = {
        bytes: verdict.wantBytes,
        rateBytesPerSecond: verdict.wantRateBytesPerSecond,
      };
    }
    // The next one watches all the time, so that it knows what is missing, and helps when this one
    // was not enough.
    const isPatienceOver = shortSinceMs !== undefined && nowMs - shortSinceMs >= PATIENCE_MS;
    isDue = isDue && isHelping && (!isUsable || isPatienceOver);
    ownBytes += receivedBytes;
  }
  return { state: { rungs }, wants };
}

function carrying(expectedBytes: number): Want {
  return {
    bytes: Math.max(0, STARVING_BYTES - expectedBytes),
    rateBytesPerSecond: STARVING_BYTES,
  };
}

/** Whether anybody holds the node's speed up at the moment. */
export function isHelped({ rungs }: LadderState): boolean {
  return rungs.some(({ governor }) => governor.mode === 'toppingUp');
}
