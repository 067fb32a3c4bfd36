import { FeedSigner } from '@sluice/engine/feed/feedSigner.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';
import { LeaseLoop, type LeaseWant } from '@sluice/protocol/client/leaseLoop.ts';
import { mirrorsOf } from '@sluice/protocol/client/sourceOfTask.ts';
import type { PullerCertificate } from '@sluice/protocol/leaseMessages.ts';
import { errorFields } from './logger.ts';
import type { OriginTopUpDependencies, OriginTopUpOptions } from './originTopUp.ts';
import { pullerOfTask } from './taskPuller.ts';

/** No more than a relay takes; see there. */
const WANT: LeaseWant = { rateBytesPerSecond: 1_250_000_000, connections: 8 };

/** Pulls extents and signs their hashes as a relay does, while no relay does it. */
export class OriginPull {
  readonly #transfer: Transfer;
  readonly #leases: LeaseLoop;

  constructor(
    { task, layout }: OriginTopUpOptions,
    { client, httpSource, clock, transfer, logger }: OriginTopUpDependencies,
  ) {
    const { uid, epoch, pieceLengthBytes, swarmId } = task();
    this.#transfer = transfer;
    const keyPair = generateFeedKeyPair();
    let signer: FeedSigner | undefined;
    const certified = (certificate: PullerCertificate) => {
      if (signer !== undefined) signer.adopt(certificate);
      else signer = new FeedSigner({ swarmId: Buffer.from(swarmId, 'hex'), keyPair, certificate });
      transfer.setSigner(signer);
    };
    this.#leases = new LeaseLoop(
      { uid, epoch, pieceLengthBytes, pullerKey: keyPair.publicKey.toString('base64') },
      {
        client,
        clock,
        wantedRateBytesPerSecond: () => WANT.rateBytesPerSecond,
        want: () => WANT,
        mirrors: () => mirrorsOf(task()),
        createPuller: (grant, requestedAtMs) =>
          pullerOfTask(grant, requestedAtMs, {
            httpSource,
            clock,
            layout,
            task: task(),
            target: transfer,
            isFirst: transfer.progress().verifiedPieces === 0,
          }),
        certified,
        complete: () =>
          transfer.progress().verifiedPieces === layout.pieceCount && !transfer.hasUnnamedPieces(),
        onFailure: (error) => {
          if (error !== undefined)
            logger.warn('the origin gives nothing', { uid, epoch, ...error });
        },
        onProblem: (error) => logger.warn('lease problem', { uid, epoch, ...errorFields(error) }),
      },
    );
  }

  /** Until the transfer is complete or aborted; what is held then is settled. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#leases.run(signal);
    // What it tops up with later is no pull.
    this.#transfer.setSigner(undefined);
  }

  /** The control server has something for it. */
  askLease(): void {
    this.#leases.askNow();
  }
}
