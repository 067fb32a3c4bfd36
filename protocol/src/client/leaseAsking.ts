import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { LeaseAnswer, LeaseRequest } from '../leaseMessages.ts';
import { sleep } from '../sleep.ts';
import { backoffMs } from './backoff.ts';
import { ControlError } from './controlError.ts';

export interface LeaseReply {
  readonly answer: LeaseAnswer;
  /** When the request was first sent, on the clock: a grant's life counts from there. */
  readonly requestedAtMs: number;
  /** Of the request. */
  readonly sequence: number;
}

export interface LeaseAskingDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** One attempt. Rejects with a ControlError. */
  readonly post: (request: LeaseRequest, signal: AbortSignal) => Promise<LeaseAnswer>;
}

/**
 * Asks until there is an answer, `giveUpAfterMs` at most, with the same sequence each time: the
 * server gives a repeat the answer that it gave before.
 */
export async function askForLease(
  request: LeaseRequest,
  giveUpAfterMs: number,
  signal: AbortSignal,
  { clock, random, post }: LeaseAskingDependencies,
): Promise<LeaseReply> {
  const requestedAtMs = clock.now();
  for (let failures = 0; ; failures += 1) {
    try {
      const { sequence } = request;
      return { answer: await post(request, signal), requestedAtMs, sequence };
    } catch (error) {
      const waitMs = backoffMs(failures, random());
      const late = clock.now() + waitMs - requestedAtMs > giveUpAfterMs;
      if (!(error instanceof ControlError) || !error.transient || late) throw error;
      await sleep(clock, waitMs, signal).catch((cause) => {
        throw new ControlError('Aborted', 'the request was aborted', { cause });
      });
    }
  }
}
