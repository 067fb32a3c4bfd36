/*
 * pieces/ knows how files lie in pieces and which pieces a process has. Pure.
 */
export interface LayoutFile {
  readonly path: string;
  readonly sizeBytes: number;
}

export interface Layout {
  /** In BEP 52 order: by path, segment for segment. */
  readonly files: readonly LayoutFile[];
  readonly pieceLengthBytes: number;
  readonly pieceCount: number;
  readonly totalBytes: number;
  pieceSizeBytes(piece: number): number;
  locate(piece: number): { readonly fileIndex: number; readonly offset: number };
}

const MIN_PIECE_BYTES = 262_144;
const MAX_PIECE_BYTES = 16_777_216;
const MAX_PIECES = 8_192;

/** The smallest power of two that gives at most 8,192 pieces, from 256 KiB to 16 MiB. */
export function pieceLengthFor(totalBytes: number): number {
  let length = MIN_PIECE_BYTES;
  while (length < MAX_PIECE_BYTES && totalBytes / length > MAX_PIECES) length *= 2;
  return length;
}

/** Each file starts on a piece boundary; an empty one has no piece. */
export function layoutOf(
  given: readonly LayoutFile[],
  pieceLengthBytes = pieceLengthFor(given.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)),
): Layout {
  const files = [...given].sort((a, b) => comparePaths(a.path, b.path));
  const starts: number[] = [];
  let pieceCount = 0;
  for (const { sizeBytes } of files) {
    starts.push(pieceCount);
    pieceCount += Math.ceil(sizeBytes / pieceLengthBytes);
  }
  const locate = (piece: number) => {
    if (!Number.isInteger(piece) || piece < 0 || piece >= pieceCount) {
      throw new RangeError(`there is no piece ${piece} of ${pieceCount}`);
    }
    // The last file that starts at or before the piece; empty files before it start there too.
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] as number) <= piece) low = middle;
      else high = middle - 1;
    }
    return { fileIndex: low, offset: (piece - (starts[low] as number)) * pieceLengthBytes };
  };
  return {
    files,
    pieceLengthBytes,
    pieceCount,
    totalBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    locate,
    pieceSizeBytes: (piece) => {
      const { fileIndex, offset } = locate(piece);
      return Math.min(pieceLengthBytes, (files[fileIndex] as LayoutFile).sizeBytes - offset);
    },
  };
}

function comparePaths(a: string, b: string): number {
  const left = a.split('/');
  const right = b.split('/');
  for (let index = 0; index < Math.min(left.length, right.length); index += 1) {
    const order = Buffer.compare(
      Buffer.from(left[index] as string),
      Buffer.from(right[index] as string),
    );
    if (order !== 0) return order;
  }
  return left.length - right.length;
}
