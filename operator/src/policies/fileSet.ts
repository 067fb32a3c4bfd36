/** Sets of files: which one a spec names, whether an epoch is made of it, and what cannot be one. */
import { type Layout, MAX_TRANSFER_PIECES } from '@sluice/engine/pieces/layout.ts';
import type { Distribution } from '../api/v1alpha1/distribution.ts';
import { MAX_FILES } from '../api/v1alpha1/source.ts';
import type { EpochRecord, NamedFile } from '../controllers/dataSide.ts';

type Source = Distribution['spec']['source'];

/** Undefined: the URL is the one file. */
export function namedFiles(
  source: Source,
): { readonly files?: readonly NamedFile[]; readonly filesFrom?: string } | undefined {
  if (source.filesFrom !== undefined) return { filesFrom: source.filesFrom.path };
  if (source.files === undefined) return undefined;
  const files = source.files.map(({ path, digest, sizeBytes }) => ({
    path,
    ...(digest !== undefined && { sha256: hexOf(digest) }),
    ...(sizeBytes !== undefined && { sizeBytes }),
  }));
  return { files };
}

export function hexOf(digest: string): string {
  return digest.slice('sha256:'.length);
}

type Made = Pick<EpochRecord, 'url' | 'digest' | 'filesFrom' | 'files'>;

/** Whether the epoch was made from this source; another one needs another epoch. */
export function isMadeFrom(record: Made, source: Source): boolean {
  if (record.url !== source.url || record.digest !== source.digest) return false;
  const named = namedFiles(source);
  if (record.filesFrom !== named?.filesFrom) return false;
  // A folder's URL is never that of the one file.
  if (named?.files === undefined) return true;
  if (named.files.length !== record.files.length) return false;
  const made = new Map(record.files.map((file) => [file.path, file]));
  return named.files.every(({ path, sha256, sizeBytes }) => {
    const file = made.get(path);
    return (
      file !== undefined &&
      file.sha256 === sha256 &&
      (sizeBytes === undefined || file.sizeBytes === sizeBytes)
    );
  });
}

/**
 * Why these paths cannot be one folder on a node; `field` begins the sentence. What the API server
 * has checked of spec.source.files is checked again: a list from an origin passes here alone.
 */
export function setProblem(paths: readonly string[], field: string): string | undefined {
  if (paths.length === 0) return `${field}: names no file`;
  if (paths.length > MAX_FILES) {
    return `${field}: names ${paths.length} files and at most ${MAX_FILES} can be one set; pack some together, or make several Distributions`;
  }
  const unsafe = paths.find((path) => !isSafePath(path));
  if (unsafe !== undefined) {
    return `${field}: '${shown(unsafe)}' cannot be a path on a node; rename the file, without empty segments, . or .., backslashes and control characters, with at most ${MAX_SEGMENT_BYTES} bytes in a segment and ${MAX_PATH_BYTES} in all`;
  }
  const all = new Set(paths);
  if (all.size < paths.length) {
    const twice = paths.find((path, at) => paths.indexOf(path) !== at) as string;
    return `${field}: names '${shown(twice)}' twice; name it once`;
  }
  for (const path of paths) {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const folder = path.slice(0, end);
      if (!all.has(folder)) continue;
      return `${field}: '${shown(folder)}' is a file, and the folder of '${shown(path)}'; rename one of them`;
    }
  }
  return undefined;
}

/** Why these files, laid out in pieces, are too much for one epoch. */
export function sizeProblem(layout: Layout): string | undefined {
  const { files, pieceCount, pieceLengthBytes, totalBytes } = layout;
  if (pieceCount <= MAX_TRANSFER_PIECES) return undefined;
  const which = files.length === 1 ? 'the file has' : `the ${files.length} files have`;
  return `${which} ${totalBytes} bytes in ${pieceCount} pieces of ${pieceLengthBytes}, and at most ${MAX_TRANSFER_PIECES} pieces (1 TiB) can be delivered`;
}

const MAX_PATH_BYTES = 1024;
const MAX_SEGMENT_BYTES = 255;

function isSafePath(path: string): boolean {
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be in a name
  if (bytes(path) > MAX_PATH_BYTES || /[\\\u0000-\u001f\u007f]/.test(path)) return false;
  const segments = path.split('/');
  if (segments[0] === '.sluice') return false;
  return segments.every(
    (each) => each !== '' && each !== '.' && each !== '..' && bytes(each) <= MAX_SEGMENT_BYTES,
  );
}

function shown(path: string): string {
  return path.length > 200 ? `${path.slice(0, 200)}...` : path;
}
