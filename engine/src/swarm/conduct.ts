/** What a connection looks like when it is judged; times in milliseconds on one clock. */
export interface ConductFacts {
  readonly side: 'opener' | 'acceptor';
  readonly lastReceivedAtMs: number;
  /** Requested of the peer, and not answered. */
  readonly outstandingBytes: number;
  /** When it last finished a block, or began to owe one. */
  readonly lastBlockAtMs: number;
  /** Sent, and not yet taken by the network. */
  readonly queuedBytes: number;
  /** When the network last took some of it, or it began to wait. */
  readonly lastTakenAtMs: number;
}

/** A peer that owes us bytes and sends nothing for so long is left. */
const SILENT_MS = 10_000;
/** One block in so long is about 2 KB/s: a peer under it only holds requests up. */
const STALLED_MS = 60_000;
/** Openers say at least that they live (BEP 3: about every two minutes). */
export const KEEP_ALIVE_MS = 60_000;
const IDLE_MS = 3 * KEEP_ALIVE_MS;
/** Blocks ahead and the feed have a MiB each; haves of the largest layout are less than one. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024;
/**
 * What waits for a peer is memory that others wait for. A slow peer has two blocks waiting, which
 * the network takes as one: so long is 9 KB/s.
 */
const NOT_READING_MS = 30_000;
/** A stall of the peer's process may bring so many useless messages at once, and no more. */
const MAX_USELESS = 2048;
const USELESS_PER_SECOND = 100;

/** Pure. Undefined: the peer may stay. */
export function faultOf(
  facts: ConductFacts,
  nowMs: number,
): 'Silent' | 'Stalled' | 'Idle' | 'NotReading' | undefined {
  const { side, lastReceivedAtMs, outstandingBytes, lastBlockAtMs } = facts;
  const { queuedBytes, lastTakenAtMs } = facts;
  if (queuedBytes > MAX_QUEUED_BYTES) return 'NotReading';
  if (queuedBytes > 0 && nowMs - lastTakenAtMs > NOT_READING_MS) return 'NotReading';
  if (outstandingBytes > 0) {
    if (nowMs - lastReceivedAtMs > SILENT_MS) return 'Silent';
    if (nowMs - lastBlockAtMs > STALLED_MS) return 'Stalled';
  }
  return side === 'acceptor' && nowMs - lastReceivedAtMs > IDLE_MS ? 'Idle' : undefined;
}

/** Counts messages that tell nothing new; they cost time, so only so many a second are borne. */
export class UselessMessages {
  #count = 0;
  #countedAtMs = 0;

  /** Answers whether there are too many. */
  add(nowMs: number): boolean {
    const forgiven = ((nowMs - this.#countedAtMs) / 1000) * USELESS_PER_SECOND;
    this.#count = Math.max(0, this.#count - forgiven) + 1;
    this.#countedAtMs = nowMs;
    return this.#count > MAX_USELESS;
  }
}
