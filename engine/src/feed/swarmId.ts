import { createHash } from 'node:crypto';
import { encodeBytes, encodeDictionary, encodeInteger, encodeList } from '../torrent/bencoding.ts';

/** What of a layout enters the swarm id. `pieces/layout.ts` has the files in BEP 52 order. */
export interface NamedLayout {
  readonly files: readonly { readonly path: string; readonly sizeBytes: number }[];
  readonly pieceLengthBytes: number;
}

export interface SwarmOwner {
  readonly uid: string;
  readonly epoch: number;
  /** Raw Ed25519 public key of the distribution. */
  readonly feedKey: Uint8Array;
}

/**
 * Names the swarm before any hash of its content exists: the first 20 bytes of SHA-256 over the
 * bencoded {files: [[path, length]...], piece length, sluice: {uid, epoch, key}}. Whoever knows
 * the plan computes the same; another epoch, owner or order of files is another swarm.
 */
export function swarmIdOf(layout: NamedLayout, owner: SwarmOwner): Buffer {
  const files = layout.files.map(({ path, sizeBytes }) =>
    encodeList([encodeBytes(path), encodeInteger(sizeBytes)]),
  );
  const encoded = encodeDictionary([
    ['files', encodeList(files)],
    ['piece length', encodeInteger(layout.pieceLengthBytes)],
    [
      'sluice',
      encodeDictionary([
        ['uid', encodeBytes(owner.uid)],
        ['epoch', encodeInteger(owner.epoch)],
        ['key', encodeBytes(owner.feedKey)],
      ]),
    ],
  ]);
  return createHash('sha256').update(encoded).digest().subarray(0, 20);
}

/** What one process makes of a plan is not what another one makes of it. */
class SwarmMismatchError extends Error {
  readonly code = 'SwarmMismatch';
}

/** A swarm (hex) is named by its files and its owner: another name means another idea of these. */
export function checkSwarmId(swarmId: string, layout: NamedLayout, owner: SwarmOwner): void {
  const own = swarmIdOf(layout, owner).toString('hex');
  if (own === swarmId) return;
  const made = 'its files, piece length, uid, epoch and key make';
  const message = `the control server names swarm ${swarmId}, ${made} ${own}`;
  throw new SwarmMismatchError(message);
}
