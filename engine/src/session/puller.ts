import type { Extent } from '../feed/certificate.ts';
import type { PacedGrant } from '../pacing/leasePacer.ts';
import type { Clock } from '../ports/clock.ts';
import type { HttpSource, ResponseHead } from '../ports/httpSource.ts';
import type { OriginFile, PullError } from './originAnswer.ts';
import type { PullMeters } from './pullMeters.ts';
import type { PullLayout, PullTarget } from './pullPlan.ts';

/** What a lease lets a puller do; a LeaseGrant of the control protocol is one. */
export interface PullGrant extends PacedGrant {
  readonly extents: readonly Extent[];
}

export interface PullOptions {
  /** In the order of the layout's files. */
  readonly files: readonly OriginFile[];
  /** For every request; credentials included. */
  readonly headers: Readonly<Record<string, string>>;
  /** Whether the origin proved that it honours ranges. */
  readonly ranges: boolean;
  readonly pieceLengthBytes: number;
  /** Nothing is here yet: the first piece is to come as soon as it can. */
  readonly isFirst?: boolean;
}

export interface PullDependencies {
  readonly http: HttpSource;
  readonly clock: Clock;
  readonly layout: PullLayout;
  readonly target: PullTarget;
}

export type PullEnd =
  /** Everything in the extents is verified, here or by others. */
  | { readonly kind: 'completed' }
  /** The grant ended, by time or bytes, with work left; or close() was called. */
  | { readonly kind: 'stopped'; readonly reason: 'expiry' | 'maxBytes' | 'closed' }
  | { readonly kind: 'failed'; readonly error: PullError };

/** What ended without the origin's word: it may be open there still, and bytes may come over it. */
export interface Unproven {
  readonly connections: number;
  readonly slackBytes: number;
}

/** The pull of one lease. Settle it after close(). */
export interface Puller {
  /** Resolves once, never rejects; call close() and settle then. */
  readonly ended: Promise<PullEnd>;
  start(): void;
  /** A renewed grant of the same lease, asked for at `requestedAtMs` on the clock. */
  adopt(grant: PullGrant, requestedAtMs: number): void;
  /** After a smaller grant: whether what is under way has come down to it. */
  fitsGrant(): boolean;
  /** What the origin may have written, charged high. */
  usedBytes(): number;
  /** What surely came. */
  meters(): PullMeters;
  unfinished(): Extent[];
  timeToFirstByteMs(): number | undefined;
  /** Ends what is open; resolves when no socket of ours is. Idempotent. */
  close(): Promise<void>;
  /** Final after close(). */
  unproven(): Unproven;
}

/** Failures in a row, each waited for twice as long as the one before, before it is called one. */
export const MAX_FAILURES = 7;
export const FIRST_BACKOFF_MS = 100;
/** What may be in the buffers of both kernels, unseen by us, when an endless body is cut off. */
export const UNSEEN_BYTES = 4 * 1024 * 1024;

/** How much of a body that nobody asked for the origin may write before it notices our end. */
export function unseenOf({ headers }: ResponseHead): number {
  const length = headers['content-length'];
  return Math.min(length === undefined ? UNSEEN_BYTES : Number(length), UNSEEN_BYTES);
}
