import { createHash } from 'node:crypto';

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
  const encoded = dictionary({
    files: list(layout.files.map((file) => list([bytes(file.path), integer(file.sizeBytes)]))),
    'piece length': integer(layout.pieceLengthBytes),
    sluice: dictionary({
      uid: bytes(owner.uid),
      epoch: integer(owner.epoch),
      key: bytes(owner.feedKey),
    }),
  });
  return createHash('sha256').update(encoded).digest().subarray(0, 20);
}

/* Bencoding (BEP 3), as much as is needed; the general codec works on untrusted input, this does not. */

function bytes(value: string | Uint8Array): Buffer {
  const raw = Buffer.from(value);
  return Buffer.concat([Buffer.from(`${raw.length}:`), raw]);
}

function integer(value: number): Buffer {
  return Buffer.from(`i${value}e`);
}

function list(items: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from('l'), ...items, Buffer.from('e')]);
}

function dictionary(entries: Readonly<Record<string, Buffer>>): Buffer {
  const sorted = Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1));
  const items = sorted.flatMap(([key, value]) => [bytes(key), value]);
  return Buffer.concat([Buffer.from('d'), ...items, Buffer.from('e')]);
}
