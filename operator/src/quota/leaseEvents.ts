/** What happens to leases, told to whoever counts it. */
import type { LeaseAnswer } from '@sluice/protocol/leaseMessages.ts';
import type { MeterReason } from '../controllers/dataSide.ts';

export type LeasePurpose = 'pull' | 'topUp' | 'operator';
export type WaitReason = Extract<LeaseAnswer, { outcome: 'wait' }>['reason'];

export type LeaseEvent =
  | { readonly kind: 'granted'; readonly purpose: LeasePurpose }
  | { readonly kind: 'renewed' }
  | { readonly kind: 'denied'; readonly reason: WaitReason | 'Gone' }
  /** Granted, charged, and now proven not to have been taken. */
  | { readonly kind: 'settled'; readonly unusedBytes: number }
  /** Nobody said what was taken: charged whole, though the holder had told of less. */
  | { readonly kind: 'closed'; readonly unprovenBytes: number }
  /** What a holder reports cannot be. */
  | { readonly kind: 'disagreed'; readonly reason: MeterReason }
  /** From the decision until it is durable. */
  | { readonly kind: 'committed'; readonly ms: number };

export type LeaseObserver = (event: LeaseEvent) => void;
