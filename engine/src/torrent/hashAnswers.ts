import { emptyHash, hashAt, levelsAbove, pieceLayerLevel } from './merkle.ts';
import type { PieceLayer } from './torrent.ts';

/** What of a file's tree is asked for (BEP 52); wire/ has it as a message. */
export interface AskedHashes {
  readonly root: Uint8Array;
  readonly baseLayer: number;
  readonly index: number;
  readonly length: number;
  readonly proofLayers: number;
}

/** BEP 52 advises no more; with its proofs it fits a message. */
const MAX_HASHES = 512;

/** Answers from the piece layers that a torrent has; what lies below them takes the bytes. */
export class HashAnswers {
  readonly #pieceLengthBytes: number;
  readonly #layers: ReadonlyMap<string, Buffer>;
  /** Made when they are asked for first. */
  readonly #levels = new Map<string, Buffer[]>();

  constructor(layers: readonly PieceLayer[], pieceLengthBytes: number) {
    this.#pieceLengthBytes = pieceLengthBytes;
    this.#layers = new Map(layers.map(({ root, hashes }) => [root.toString('hex'), hashes]));
  }

  /** The hashes, then those beside the way to the root; undefined: not to be had. */
  find({ root, baseLayer, index, length, proofLayers }: AskedHashes): Buffer | undefined {
    const levels = this.#levelsOf(Buffer.from(root).toString('hex'));
    if (levels === undefined) return undefined;
    const pieceLevel = pieceLayerLevel(this.#pieceLengthBytes);
    const base = baseLayer - pieceLevel;
    const height = levels.length - 1 - base;
    const isRow =
      Number.isInteger(Math.log2(length)) &&
      length >= 2 &&
      length <= Math.min(MAX_HASHES, 2 ** height);
    if (base < 0 || height < 1 || !isRow || proofLayers >= height) return undefined;
    if (index % length !== 0 || index + length > 2 ** height) return undefined;
    const empty = levels.map((_, level) => emptyHash(pieceLevel + level));
    const hashOf = (level: number, at: number) =>
      hashAt(levels[level] as Buffer, at) ?? (empty[level] as Buffer);
    const row = Array.from({ length }, (_, at) => hashOf(base, index + at));
    // What is on the way up to the row's own root follows from the row.
    for (let up = Math.log2(length); up <= proofLayers; up += 1) {
      row.push(hashOf(base + up, Math.floor(index / 2 ** up) ^ 1));
    }
    return Buffer.concat(row);
  }

  #levelsOf(root: string): Buffer[] | undefined {
    const known = this.#levels.get(root);
    const layer = this.#layers.get(root);
    if (known !== undefined || layer === undefined) return known;
    const levels = levelsAbove(layer, this.#pieceLengthBytes);
    this.#levels.set(root, levels);
    return levels;
  }
}
