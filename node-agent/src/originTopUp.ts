import type { Layout } from '@sluice/engine/pieces/layout.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { HttpSource } from '@sluice/engine/ports/httpSource.ts';
import type { OriginHelp } from '@sluice/engine/session/topUp.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';
import type { Want } from '@sluice/engine/topup/ladder.ts';
import type { ControlClient } from '@sluice/protocol/client/controlClient.ts';
import { LeaseLoop, type LeaseWant } from '@sluice/protocol/client/leaseLoop.ts';
import { mirrorsOf } from '@sluice/protocol/client/sourceOfTask.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import type { Logger } from 'winston';
import { errorFields } from './logger.ts';
import { pullerOfTask } from './taskPuller.ts';

export interface OriginTopUpOptions {
  /** As it is now: a source may be named later, or not any more. */
  readonly task: () => Task;
  readonly layout: Layout;
}

export interface OriginTopUpDependencies {
  readonly client: Pick<ControlClient, 'lease'>;
  /** Connections to an origin whose name may, or may not, mean a private address. */
  readonly httpSource: (allowsPrivate: boolean) => HttpSource;
  readonly clock: Clock;
  readonly transfer: Transfer;
  readonly logger: Logger;
}

/** Fetches what a node is short of from the origin, under leases: the last rung. */
export class OriginTopUp implements OriginHelp {
  readonly #options: OriginTopUpOptions;
  readonly #dependencies: OriginTopUpDependencies;
  readonly #leases: LeaseLoop;
  #want: Want | undefined;

  constructor(options: OriginTopUpOptions, dependencies: OriginTopUpDependencies) {
    const { client, clock, transfer, logger } = dependencies;
    const { uid, epoch, pieceLengthBytes } = options.task();
    this.#options = options;
    this.#dependencies = dependencies;
    this.#leases = new LeaseLoop(
      { uid, epoch, pieceLengthBytes },
      {
        client,
        clock,
        wantedRateBytesPerSecond: () => this.#wantedRate(),
        want: () => this.#leaseWant(),
        mirrors: () => mirrorsOf(options.task()),
        createPuller: (grant, requestedAtMs) =>
          pullerOfTask(grant, requestedAtMs, {
            ...dependencies,
            layout: options.layout,
            task: options.task(),
            target: transfer.asTopUpTarget(),
          }),
        complete: () => transfer.progress().verifiedPieces === options.layout.pieceCount,
        onFailure: (error) => {
          if (error === undefined) return;
          logger.warn('the origin does not help', { uid, epoch, ...error });
        },
        onProblem: (error) => logger.warn('lease problem', { uid, epoch, ...errorFields(error) }),
      },
    );
  }

  /** Until the transfer is complete or aborted; what is held then is settled. Never rejects. */
  run(signal: AbortSignal): Promise<void> {
    return this.#leases.run(signal);
  }

  /** The control server calls: it is this node's turn. */
  askLease(): void {
    this.#leases.askNow();
  }

  expectedBytes(): number {
    return this.#leases.expectedBytes();
  }

  want(want: Want | undefined): void {
    this.#want = want;
    // Also when it was wanted before: there may have been no piece that it could bring.
    if (want !== undefined) this.#leases.mayWant();
  }

  #wantedRate(): number {
    const { delivery, source } = this.#options.task();
    if (this.#want === undefined || source === undefined) return 0;
    const maxRate = delivery.maxRate ?? Number.POSITIVE_INFINITY;
    return Math.max(1, Math.min(this.#want.rateBytesPerSecond, maxRate));
  }

  #leaseWant(): LeaseWant | undefined {
    const pieces = this.#dependencies.transfer.originPieces();
    if (pieces.every((bits) => bits === 0)) return undefined;
    const rateBytesPerSecond = this.#wantedRate();
    // A second of it; a lease that is still needed then is renewed.
    const topUp = {
      acceptable: Buffer.from(pieces).toString('base64'),
      wantBytes: rateBytesPerSecond,
    };
    return { rateBytesPerSecond, connections: 1, topUp };
  }
}
