/** What the rest of the operator sees of leases. */
import type { Extent } from '@sluice/protocol/leaseMessages.ts';
import type { TaskFile } from '@sluice/protocol/messages.ts';

/** One run of one process. */
export interface LeaseHolder {
  /** Pod and incarnation. */
  readonly id: string;
  /** As people know it; absent: by its id. */
  readonly name?: string;
  readonly kind: 'relay' | 'agent';
  /** An agent that pulls because no relay does. */
  readonly standsIn?: boolean;
}

export interface LeasedDistribution {
  readonly uid: string;
  readonly epoch: number;
  /** 40 hex digits. */
  readonly swarmId: string;
  readonly url: string;
  /** Where the same bytes are, too; each honours byte ranges. In the order in which they are asked. */
  readonly mirrors?: readonly LeasedMirror[];
  readonly priority: number;
  readonly suspend: boolean;
  readonly files: readonly TaskFile[];
  readonly pieceLengthBytes: number;
  readonly pieceCount: number;
  /** Whether the origin proved that it honours byte ranges. */
  readonly ranges: boolean;
  /** What agents may take of this epoch, all together; undefined: agents do not top up. */
  readonly topUpBytes: number | undefined;
  /** Raw Ed25519 keys, base64: puller keys are certified with them. */
  readonly feedPublicKey: string;
  readonly feedSeed: string;
  /** Raw keys, base64, of pullers that are given nothing more; the list only grows. */
  readonly revokedPullers: readonly string[];
  /** What processes have of it without having pulled it; absent: nothing. */
  readonly donated?: DonatedPieces | undefined;
}

export interface LeasedMirror {
  readonly id: string;
  readonly url: string;
}

export interface DonatedPieces {
  /** Nobody gets these to pull. */
  readonly kept: readonly Extent[];
  /** Of these the signers get certificates. */
  readonly signed: readonly Extent[];
  /** Holders, by id. */
  readonly signers: ReadonlySet<string>;
}

export interface ChargeRequest {
  readonly url: string;
  readonly uid: string;
  /** The most that it may cost. */
  readonly maxBytes: number;
}

/**
 * Runs under a lease of the operator itself, until `signal`, and answers when its connection is
 * closed; `unproven` is to be told of connections that the origin may have open still, also when
 * it rejects.
 */
export type LeaseUse<T> = (
  signal: AbortSignal,
  unproven: (connections: number) => void,
) => Promise<{ readonly result: T; readonly usedBytes: number }>;

/** Why a puller gave up: the origin's fault. */
export interface SourceFailure {
  readonly reason: string;
  readonly message: string;
  readonly httpStatus?: number | undefined;
}

export type LeaseErrorCode =
  | 'NotLeading'
  | 'NotReady'
  | 'TrafficExhausted'
  | 'OriginRequired'
  /** What it was for took longer than it lives. */
  | 'LeaseEnded';

export class LeaseError extends Error {
  /**
   * NotLeading: another replica grants. TrafficExhausted: the limits leave no room until the period
   * ends.
   */
  readonly code: LeaseErrorCode;
  /** Milliseconds since the Unix epoch: no earlier, unless the limit is raised. */
  readonly untilMs: number | undefined;

  constructor(code: LeaseError['code'], message: string, untilMs?: number) {
    super(message);
    this.name = 'LeaseError';
    this.code = code;
    this.untilMs = untilMs;
  }
}
