import type { Transfer } from '../session/transfer.ts';
import type { TrueFile } from './trueFile.ts';

interface Party {
  readonly transfer: Transfer;
}

/** Pullers (raw keys) that signed something else than the file has, as far as others disagree. */
export function wrongPullers(parties: readonly Party[], file: TrueFile): Buffer[] {
  const wrong = new Set<string>();
  for (const { transfer } of parties) {
    for (const piece of transfer.feed.disputed) {
      const right = file.trueHash(piece).toString('hex');
      for (const [hash, pullers] of transfer.feed.claimsOf(piece)) {
        if (hash !== right) for (const puller of pullers) wrong.add(puller);
      }
    }
  }
  return [...wrong].map((key) => Buffer.from(key, 'hex'));
}

/** Pieces that none of these has a hash of. */
export function unnamedBy(parties: readonly Party[]): number[] {
  const [first] = parties;
  const all = Array.from({ length: first?.transfer.pieceCount ?? 0 }, (_, piece) => piece);
  return all.filter((piece) => parties.every(({ transfer }) => !transfer.feed.names(piece)));
}
