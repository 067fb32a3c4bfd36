import { signerUnder } from '@sluice/engine/feed/feedSigner.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { HeldHashes } from '@sluice/protocol/client/heldHashes.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { errorFields } from './logger.ts';
import type { OriginTopUpDependencies } from './originTopUp.ts';

/** Signs what is here without a pull, when the task says so. */
export function heldHashesOf(
  { uid, epoch, swarmId }: Task,
  { client, clock, transfer, logger }: Omit<OriginTopUpDependencies, 'httpSource'>,
): HeldHashes {
  const keyPair = generateFeedKeyPair();
  const owner = { swarmId: Buffer.from(swarmId, 'hex'), keyPair };
  const pullerKey = keyPair.publicKey.toString('base64');
  return new HeldHashes(
    { uid, epoch, pullerKey },
    {
      client,
      clock,
      sign: (certificates) => transfer.setHeldSigner(signerUnder(owner, certificates)),
      onProblem: (error) => logger.warn('no certificate', { uid, epoch, ...errorFields(error) }),
    },
  );
}
