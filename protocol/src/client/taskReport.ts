import type { ReceivedBytes, Task, TransferReport, TransferState } from '../messages.ts';

/** What a transfer of the engine tells of itself. */
export interface ProgressNumbers {
  readonly verifiedPieces: number;
  readonly verifiedBytes: number;
  readonly received: ReceivedBytes;
  readonly uploadedBytes: number;
  readonly rateBytesPerSecond: number;
}

export interface TaskStanding {
  readonly state: TransferState;
  /** Milliseconds since the Unix epoch. */
  readonly firstByteAtMs?: number | undefined;
  readonly bitfield?: Uint8Array | undefined;
  /** Pieces that any peer has. */
  readonly spread?: Uint8Array | undefined;
  /** How many pullers' signatures do not count in the bitfield. */
  readonly revokedPullers?: number | undefined;
  readonly disputes?: readonly Dispute[] | undefined;
  readonly error?: TaskError | undefined;
}

/** A piece, and the signed batches that say different things of it. */
export interface Dispute {
  readonly piece: number;
  readonly batches: readonly Uint8Array[];
}

export interface TaskError {
  /** UpperCamelCase, for conditions. */
  readonly reason: string;
  readonly message: string;
}

const NOTHING: ProgressNumbers = {
  verifiedPieces: 0,
  verifiedBytes: 0,
  received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
  uploadedBytes: 0,
  rateBytesPerSecond: 0,
};

export function reportOf(
  { uid, epoch }: Pick<Task, 'uid' | 'epoch'>,
  standing: TaskStanding,
  progress: ProgressNumbers = NOTHING,
): TransferReport {
  const { state, firstByteAtMs, bitfield, spread, revokedPullers, disputes = [], error } = standing;
  const { received } = progress;
  return {
    uid,
    epoch,
    state,
    verifiedPieces: progress.verifiedPieces,
    verifiedBytes: progress.verifiedBytes,
    received: {
      fromPeers: received.fromPeers,
      fromRelays: received.fromRelays,
      fromRelayHttp: received.fromRelayHttp,
      fromOrigin: received.fromOrigin,
    },
    uploadedBytes: progress.uploadedBytes,
    rateBytesPerSecond: Math.max(0, Math.round(progress.rateBytesPerSecond)),
    ...(bitfield !== undefined && { bitfield: Buffer.from(bitfield).toString('base64') }),
    ...(spread !== undefined && { spread: Buffer.from(spread).toString('base64') }),
    ...(revokedPullers !== undefined && revokedPullers > 0 && { revokedPullers }),
    ...(disputes.length > 0 && {
      disputes: disputes.map(({ piece, batches }) => ({
        piece,
        batches: batches.map((batch) => Buffer.from(batch).toString('base64')),
      })),
    }),
    ...(firstByteAtMs !== undefined && { firstByteAtMs: Math.round(firstByteAtMs) }),
    ...(error !== undefined && { error }),
  };
}

const MAX_MESSAGE_LENGTH = 1_000;

/** The coded error of a transfer, bounded for a report; the innermost known code is the reason. */
export function taskErrorOf(error: unknown): TaskError {
  const text = error instanceof Error ? error.message : String(error);
  const reason = codeOf(error);
  return { reason: reason ?? 'TransferFailed', message: text.slice(0, MAX_MESSAGE_LENGTH) };
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  // "StoreFailed" only says that the store has the reason.
  const inner = codeOf(error.cause);
  const own = (error as { code?: unknown }).code;
  if (typeof own !== 'string') return inner;
  if (own === 'StoreFailed' && inner !== undefined) return inner;
  if (own in SYSTEM_REASONS) return SYSTEM_REASONS[own];
  return /^[A-Z][a-z][A-Za-z]{1,62}$/.test(own) ? own : inner;
}

/** Errors of the operating system that a person can do something about. */
const SYSTEM_REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'DiskFull',
  EDQUOT: 'DiskFull',
  EROFS: 'DiskReadOnly',
  EACCES: 'DiskPermissionDenied',
  EPERM: 'DiskPermissionDenied',
  EIO: 'DiskFailed',
};
