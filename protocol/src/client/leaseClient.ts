import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { LeaseAnswer, LeaseRequest } from '../messages.ts';
import { ControlError } from './controlError.ts';
import { askForLease, type LeaseReply } from './leaseAsking.ts';

/** A request without what makes it idempotent, which the client adds. */
export type LeaseAsk = LeaseRequest extends infer R
  ? R extends LeaseRequest
    ? Omit<R, 'incarnation' | 'sequence'>
    : never
  : never;

export interface LeaseClientDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Of all requests of this process, in order. */
  readonly nextSequence: () => number;
  /** One attempt. Rejects with a ControlError. */
  readonly post: (request: LeaseRequest, signal: AbortSignal) => Promise<LeaseAnswer>;
}

/**
 * The leases of one process. How one ended is said until the control server has heard it, before
 * anything else is acquired: who acquires says by it that nothing of before is open, but for what
 * he has told as unproven.
 */
export class LeaseClient {
  readonly #incarnation: string;
  readonly #dependencies: LeaseClientDependencies;
  /** Ends of leases that the control server may not have heard of. */
  readonly #unsaid = new Set<LeaseAsk>();

  constructor(incarnation: string, dependencies: LeaseClientDependencies) {
    this.#incarnation = incarnation;
    this.#dependencies = dependencies;
  }

  async lease(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    if (ask.op === 'settle') return this.#settle(ask, giveUpAfterMs, signal);
    if (ask.op === 'acquire') {
      for (const unsaid of this.#unsaid) await this.#settle(unsaid, giveUpAfterMs, signal);
    }
    return this.#ask(ask, giveUpAfterMs, signal);
  }

  async #settle(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    try {
      const reply = await this.#ask(ask, giveUpAfterMs, signal);
      this.#unsaid.delete(ask);
      return reply;
    } catch (error) {
      // A refusal is an answer, too: it would be the same again.
      if (error instanceof ControlError && error.code === 'Refused') this.#unsaid.delete(ask);
      else this.#unsaid.add(ask);
      throw error;
    }
  }

  #ask(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    const sequence = this.#dependencies.nextSequence();
    const request = { ...ask, incarnation: this.#incarnation, sequence } as LeaseRequest;
    return askForLease(request, giveUpAfterMs, signal, this.#dependencies);
  }
}
