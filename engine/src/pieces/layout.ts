/*
 * pieces/ knows how files lie in pieces and which pieces a process has. Pure.
 */
export interface LayoutFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** Consecutive bytes of one file. */
export interface FileSpan {
  readonly fileIndex: number;
  /** In the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface Layout {
  /** In BEP 52 order (by path, segment for segment) when aligned, else as they were given. */
  readonly files: readonly LayoutFile[];
  readonly pieceLengthBytes: number;
  readonly pieceCount: number;
  readonly totalBytes: number;
  /** Each file starts on a piece boundary: every piece lies in one file. */
  readonly aligned: boolean;
  pieceSizeBytes(piece: number): number;
  /** Where the piece starts. */
  locate(piece: number): { readonly fileIndex: number; readonly offset: number };
  /** Where its bytes lie, in order; one span when aligned. */
  spans(piece: number): readonly FileSpan[];
}

const MIN_PIECE_BYTES = 262_144;
const MAX_PIECE_BYTES = 16_777_216;
const MAX_PIECES = 8_192;
/**
 * The most that one transfer may have: reports, leases and top-ups carry a bitfield of its pieces,
 * which has 8 KiB then. In pieces of the greatest length that is 1 TiB.
 */
export const MAX_TRANSFER_PIECES = 65_536;
export const MAX_TRANSFER_BYTES = MAX_TRANSFER_PIECES * MAX_PIECE_BYTES;

/** The smallest power of two that gives at most 8,192 pieces, from 256 KiB to 16 MiB. */
export function pieceLengthFor(totalBytes: number): number {
  let length = MIN_PIECE_BYTES;
  while (length < MAX_PIECE_BYTES && totalBytes / length > MAX_PIECES) length *= 2;
  return length;
}

/**
 * How files lie in pieces. Aligned (ours, and BEP 52): each file starts on a piece boundary and an
 * empty one has no piece. Otherwise (BEP 3) files follow each other without a gap, as given, and a
 * piece may span several.
 */
export function layoutOf(
  given: readonly LayoutFile[],
  pieceLengthBytes = pieceLengthFor(given.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)),
  { aligned = true }: { readonly aligned?: boolean } = {},
): Layout {
  const files = aligned ? [...given].sort((a, b) => comparePaths(a.path, b.path)) : [...given];
  /** Of each file, in the row of all pieces. */
  const starts: number[] = [];
  let end = 0;
  for (const { sizeBytes } of files) {
    starts.push(end);
    end += aligned ? Math.ceil(sizeBytes / pieceLengthBytes) * pieceLengthBytes : sizeBytes;
  }
  const pieceCount = Math.ceil(end / pieceLengthBytes);
  const locate = (piece: number) => {
    if (!Number.isInteger(piece) || piece < 0 || piece >= pieceCount) {
      throw new RangeError(`there is no piece ${piece} of ${pieceCount}`);
    }
    const position = piece * pieceLengthBytes;
    const fileIndex = lastAtOrBefore(starts, position);
    return { fileIndex, offset: position - (starts[fileIndex] as number) };
  };
  const spans = (piece: number): FileSpan[] => {
    const found: FileSpan[] = [];
    let { fileIndex, offset } = locate(piece);
    let left = pieceLengthBytes;
    for (let file = files[fileIndex]; file !== undefined && left > 0; file = files[fileIndex]) {
      const sizeBytes = Math.min(left, file.sizeBytes - offset);
      if (sizeBytes > 0) found.push({ fileIndex, offset, sizeBytes });
      if (aligned) break;
      left -= sizeBytes;
      fileIndex += 1;
      offset = 0;
    }
    return found;
  };
  return {
    files,
    pieceLengthBytes,
    pieceCount,
    totalBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    aligned,
    locate,
    spans,
    pieceSizeBytes: (piece) => {
      const { fileIndex, offset } = locate(piece);
      const { sizeBytes } = files[fileIndex] as LayoutFile;
      const leftBytes = aligned ? sizeBytes - offset : end - piece * pieceLengthBytes;
      return Math.min(pieceLengthBytes, leftBytes);
    },
  };
}

/** The last file that starts there; empty files before it start there too. */
function lastAtOrBefore(starts: readonly number[], position: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if ((starts[middle] as number) <= position) low = middle;
    else high = middle - 1;
  }
  return low;
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
