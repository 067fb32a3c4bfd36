/** Makes an epoch: the layout of the bytes, the keys of its swarm, and its name. */
import { randomBytes } from 'node:crypto';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import type { SourceErrorCode } from '../../policies/failures.ts';
import { hexOf, sizeProblem } from '../../policies/fileSet.ts';
import { fileNameOf } from '../../policies/source.ts';
import type { EpochFile, EpochRecord, ResolvedSource } from '../dataSide.ts';

class EpochError extends Error {
  readonly code: SourceErrorCode = 'TooLarge';

  constructor(message: string) {
    super(message);
    this.name = 'EpochError';
  }
}

/** Throws an EpochError for more than processes can tell each other of. */
export function makeEpoch(
  { metadata, spec }: Distribution,
  { uid, epoch }: { readonly uid: string; readonly epoch: number },
  source: ResolvedSource,
  startedAt: string,
): EpochRecord {
  const { url, digest, filesFrom } = spec.source;
  const { files: set, ...resolved } = source;
  const given = new Map((set ?? [theFile(spec.source, source)]).map((file) => [file.path, file]));
  const layout = layoutOf([...given.values()]);
  const problem = sizeProblem(layout);
  if (problem !== undefined) throw new EpochError(problem);
  const files = layout.files.map(({ path }) => given.get(path) as EpochFile);
  const { pieceLengthBytes } = layout;
  const keys = generateFeedKeyPair();
  const owner = { uid, epoch, feedKey: keys.publicKey };
  return {
    uid,
    ...(uid !== metadata.uid && { owner: metadata.uid }),
    namespace: metadata.namespace,
    name: metadata.name,
    epoch,
    url,
    ...(digest !== undefined && { digest }),
    ...(filesFrom !== undefined && { filesFrom: filesFrom.path }),
    source: resolved,
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

function theFile(
  { url, digest }: Distribution['spec']['source'],
  { sizeBytes, validator }: ResolvedSource,
): EpochFile {
  const path = fileNameOf(url);
  if (path === undefined) throw new Error('the policy lets no URL without a file name through');
  return { path, sizeBytes, ...(digest !== undefined && { sha256: hexOf(digest) }), validator };
}
