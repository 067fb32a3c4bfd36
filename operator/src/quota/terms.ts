/** The terms of a lease, from what is shared, what is free and what is to be pulled. PURE. */
import {
  type Claim,
  LONGEST_QUANTUM_MS,
  MIN_RATE_BYTES_PER_SECOND,
  rateWithin,
  type Share,
  slackFor,
} from './allocate.ts';
import type { Terms } from './entries.ts';

/** What an origin without ranges may have in the buffers of both kernels when we stop reading. */
const STREAM_RESERVE_BYTES = 4 * 1024 * 1024;
const MIN_REQUEST_BYTES = 4_096;
const FRUGAL_REQUEST_BYTES = 65_536;
/** Of one answer, reserved; the real ones have 300 to 600. */
const HEADER_BYTES = 1_024;
/** Requests that fail and are asked again, error pages. */
const SPARE_BYTES = 65_536;
/** Each connection needs a part of the slack that is worth a request. */
const SLACK_PER_CONNECTION_BYTES = 16_384;
/** A smaller part of the rate than this is not worth two renewals, the shrink's and its word. */
export const WORTH_CHANGING = 0.02;

export interface Room {
  /** Of rate x 1 s + slack. */
  readonly windowBytes: number;
  /** Of rate x 1 s, beside the slack that was leased within the last second. */
  readonly rateBytes: number;
  readonly connections: number;
}

export type RateTerms = Omit<Terms, 'maxBytes'>;

/** Undefined: there is no room for a lease that would be worth it. */
export function rateTerms(
  claim: Claim,
  share: Share,
  room: Room,
  stream: { readonly sizeBytes: number } | undefined,
): RateTerms | undefined {
  if (stream !== undefined) return streamTerms(share, room, stream.sizeBytes);
  const most = Math.min(share.connections, room.connections, claim.wantConnections);
  if (most < 1) return undefined;
  const terms = termsOver(most, claim, share, room);
  const worth = Math.max(1, Math.floor(terms.slackBytes / SLACK_PER_CONNECTION_BYTES));
  // Fewer connections may need more slack.
  const fitting = worth < most ? termsOver(worth, claim, share, room) : terms;
  return fitting.rateBytesPerSecond < MIN_RATE_BYTES_PER_SECOND ? undefined : fitting;
}

function termsOver(connections: number, claim: Claim, share: Share, room: Room): RateTerms {
  const { timeToFirstByteMs } = claim;
  const within = rateWithin(room.windowBytes, timeToFirstByteMs, connections);
  const most = Math.min(share.rateBytesPerSecond, within, room.rateBytes);
  const rateBytesPerSecond = Math.max(0, Math.floor(most));
  const slackBytes = slackFor(rateBytesPerSecond, timeToFirstByteMs, connections);
  return { rateBytesPerSecond, slackBytes, connections };
}

/** One connection whose buffers we do not see: they are slack. */
function streamTerms(share: Share, room: Room, sizeBytes: number): RateTerms | undefined {
  const slackBytes = Math.min(STREAM_RESERVE_BYTES, sizeBytes) + HEADER_BYTES;
  const most = Math.min(room.windowBytes - slackBytes, room.rateBytes);
  const rate = Math.floor(Math.min(share.rateBytesPerSecond, most));
  if (rate < MIN_RATE_BYTES_PER_SECOND || Math.min(share.connections, room.connections) < 1) {
    return undefined;
  }
  return { rateBytesPerSecond: rate, slackBytes, connections: 1 };
}

/**
 * Keeps what the holder has when that still fits and a change would not be worth its cost.
 * `worthFalling`: by what part of it the rate is to fall for that.
 */
export function steady(
  before: RateTerms,
  next: RateTerms,
  room: Room,
  worthFalling: number,
): RateTerms {
  const rate = before.rateBytesPerSecond;
  const change = next.rateBytesPerSecond / rate - 1;
  // A lease that was granted for a slower origin than it turned out to be has too much of it.
  const givenBack = (before.slackBytes - next.slackBytes) / rate;
  const fits = rate + before.slackBytes <= room.windowBytes;
  const isWorthIt = change >= WORTH_CHANGING || -change >= worthFalling;
  if (isWorthIt || givenBack >= WORTH_CHANGING || !fits) return next;
  return { ...before, connections: next.connections };
}

/** Bytes that were granted stay granted while the limit of traffic allows it. */
export function renewedTerms(before: Terms, next: Terms, trafficBytes: number): Terms {
  const { rateBytesPerSecond, slackBytes, connections, maxBytes } = next;
  const stays = before.maxBytes > maxBytes && before.maxBytes <= trafficBytes;
  const kept = stays ? before.maxBytes : maxBytes;
  return { rateBytesPerSecond, slackBytes, connections, maxBytes: kept };
}

/** Whether whoever keeps to the one keeps to the other. */
export function isWithin(one: Terms, other: Terms): boolean {
  return (
    one.rateBytesPerSecond <= other.rateBytesPerSecond &&
    one.slackBytes <= other.slackBytes &&
    one.connections <= other.connections &&
    one.maxBytes <= other.maxBytes
  );
}

/** The most that pulling so many bytes may take, headers and repeated requests included. */
export function budgetFor(
  payloadBytes: number,
  rateBytesPerSecond: number,
  stream: boolean,
): number {
  if (stream) return payloadBytes + STREAM_RESERVE_BYTES + SPARE_BYTES;
  const quantum = (rateBytesPerSecond * LONGEST_QUANTUM_MS) / 1000;
  const requestBytes = Math.min(FRUGAL_REQUEST_BYTES, Math.max(MIN_REQUEST_BYTES, quantum / 2));
  return payloadBytes + Math.ceil(payloadBytes / requestBytes) * HEADER_BYTES + SPARE_BYTES;
}
