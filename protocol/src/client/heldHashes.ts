import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { PullerCertificate } from '../leaseMessages.ts';
import type { Task } from '../messages.ts';
import { sleep } from '../sleep.ts';
import type { LeaseReply } from './leaseAsking.ts';
import type { LeaseAsk } from './leaseClient.ts';

export interface HeldHashesOptions extends Pick<Task, 'uid' | 'epoch'> {
  /** Raw Ed25519 public key, base64: what the certificates are for. */
  readonly pullerKey: string;
}

export interface HeldHashesDependencies {
  readonly client: {
    lease(ask: LeaseAsk, giveUpAfterMs: number, signal: AbortSignal): Promise<LeaseReply>;
  };
  readonly clock: Clock;
  /** From now on what is here by its digest is signed; at least one certificate. */
  readonly sign: (certificates: readonly PullerCertificate[]) => void;
  readonly onProblem: (error: unknown) => void;
}

const ASK_MS = 10_000;
const PAUSE_MS = 1_000;

/**
 * Of a process that has bytes of an epoch without having pulled them: gets it the right to sign
 * their hashes, so that others can take them from it. That takes nothing from the origin.
 */
export class HeldHashes {
  readonly #options: HeldHashesOptions;
  readonly #dependencies: HeldHashesDependencies;
  readonly #over = new AbortController();
  #asking: Promise<void> | undefined;

  constructor(options: HeldHashesOptions, dependencies: HeldHashesDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  /** The task as it is now; once it says so, it is so. */
  update({ signs }: Pick<Task, 'signs'>): void {
    if (signs === true) this.#asking ??= this.#ask(this.#over.signal);
  }

  async stop(): Promise<void> {
    this.#over.abort(new Error('the transfer is over'));
    await this.#asking;
  }

  /** Until there is an answer; never rejects. */
  async #ask(signal: AbortSignal): Promise<void> {
    const { client, clock, sign, onProblem } = this.#dependencies;
    while (!signal.aborted) {
      let pauseMs = PAUSE_MS;
      try {
        const ask = { op: 'certify' as const, ...this.#options };
        const { answer } = await client.lease(ask, ASK_MS, signal);
        if (answer.outcome === 'certified') {
          sign(answer.certificates);
          return;
        }
        if (answer.outcome === 'wait') pauseMs = answer.retryAfterMs;
      } catch (error) {
        if (!signal.aborted) onProblem(error);
      }
      await sleep(clock, pauseMs, signal).catch(() => {});
    }
  }
}
