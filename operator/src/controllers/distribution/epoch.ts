/** Makes an epoch: the layout of the bytes, the keys of its swarm, and its name. */
import { randomBytes } from 'node:crypto';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { fileNameOf } from '../../policies/source.ts';
import type { EpochRecord, ResolvedSource } from '../dataSide.ts';

export function makeEpoch(
  { metadata, spec }: Distribution,
  epoch: number,
  source: ResolvedSource,
  startedAt: string,
): EpochRecord {
  const { url, digest } = spec.source;
  const path = fileNameOf(url);
  if (path === undefined) throw new Error('the policy lets no URL without a file name through');
  const sha256 = digest?.slice('sha256:'.length);
  const { sizeBytes, validator } = source;
  const files = [{ path, sizeBytes, ...(sha256 !== undefined && { sha256 }), validator }];
  const layout = layoutOf(files);
  const { pieceLengthBytes } = layout;
  const keys = generateFeedKeyPair();
  const owner = { uid: metadata.uid, epoch, feedKey: keys.publicKey };
  return {
    uid: metadata.uid,
    namespace: metadata.namespace,
    name: metadata.name,
    epoch,
    url,
    ...(digest !== undefined && { digest }),
    source,
    files,
    pieceLengthBytes,
    pieceCount: layout.pieceCount,
    swarmId: swarmIdOf({ files, pieceLengthBytes }, owner).toString('hex'),
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
    swarmSecret: randomBytes(32).toString('base64'),
    relayToken: randomBytes(32).toString('base64url'),
    startedAt,
  };
}
