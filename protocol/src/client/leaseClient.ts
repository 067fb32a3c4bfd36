import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { LeaseAnswer, LeaseRequest } from '../leaseMessages.ts';
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

type Acquire = Extract<LeaseAsk, { op: 'acquire' }>;
type Settle = Extract<LeaseAsk, { op: 'settle' }>;

/**
 * The leases of one process. How one ended is said until the control server has heard it, before
 * anything else of its epoch is acquired: who acquires says by it that nothing of before is open
 * of that epoch, but for what he has told as unproven. Other epochs do not wait for it: where it
 * was leased there may be nobody who can hear it for long.
 */
export class LeaseClient {
  readonly #incarnation: string;
  readonly #dependencies: LeaseClientDependencies;
  /** Ends of leases that the control server may not have heard of. */
  readonly #unsaid = new Set<Settle>();
  /** Those that are told beside what is acquired. */
  readonly #beingTold = new Set<Settle>();
  /** Of what each lease is for, until its end was heard. */
  readonly #epochs = new Map<string, string>();

  constructor(incarnation: string, dependencies: LeaseClientDependencies) {
    this.#incarnation = incarnation;
    this.#dependencies = dependencies;
  }

  async lease(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    if (ask.op === 'settle') return this.#end(ask, giveUpAfterMs, signal);
    if (ask.op === 'acquire') await this.#tellEnds(ask, giveUpAfterMs, signal);
    const reply = await this.#ask(ask, giveUpAfterMs, signal);
    const { answer } = reply;
    if (answer.outcome === 'granted') this.#epochs.set(answer.grant.leaseId, epochOf(answer.grant));
    return reply;
  }

  async #tellEnds(acquire: Acquire, giveUpAfterMs: number, signal: AbortSignal): Promise<void> {
    for (const unsaid of this.#unsaid) {
      const epoch = this.#epochs.get(unsaid.leaseId);
      const isOther = epoch !== undefined && epoch !== epochOf(acquire);
      if (!isOther) await this.#settle(unsaid, giveUpAfterMs, signal);
      else this.#tellBeside(unsaid, giveUpAfterMs, signal);
    }
  }

  #tellBeside(unsaid: Settle, giveUpAfterMs: number, signal: AbortSignal): void {
    if (this.#beingTold.has(unsaid)) return;
    this.#beingTold.add(unsaid);
    this.#settle(unsaid, giveUpAfterMs, signal)
      .catch(() => {})
      .finally(() => this.#beingTold.delete(unsaid));
  }

  async #end(ask: Settle, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    try {
      return await this.#settle(ask, giveUpAfterMs, signal);
    } catch (error) {
      if (!isRefusal(error)) this.#unsaid.add(ask);
      throw error;
    }
  }

  async #settle(ask: Settle, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    try {
      const reply = await this.#ask(ask, giveUpAfterMs, signal);
      this.#wasHeard(ask);
      return reply;
    } catch (error) {
      if (isRefusal(error)) this.#wasHeard(ask);
      throw error;
    }
  }

  #wasHeard(ask: Settle): void {
    this.#unsaid.delete(ask);
    this.#epochs.delete(ask.leaseId);
  }

  #ask(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply> {
    const sequence = this.#dependencies.nextSequence();
    const request = { ...ask, incarnation: this.#incarnation, sequence } as LeaseRequest;
    return askForLease(request, giveUpAfterMs, signal, this.#dependencies);
  }
}

function epochOf({ uid, epoch }: Pick<Acquire, 'uid' | 'epoch'>): string {
  return `${uid}/${epoch}`;
}

/** That is an answer, too: it would be the same again. */
function isRefusal(error: unknown): boolean {
  return error instanceof ControlError && error.code === 'Refused';
}
