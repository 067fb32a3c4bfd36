import path from 'node:path';
import type { Layout, LayoutFile } from '../../pieces/layout.ts';
import { layoutOf } from '../../pieces/layout.ts';
import type { FileSystem } from './fileSystem.ts';
import { nodeFileSystem } from './nodeFileSystem.ts';
import { StateFile } from './stateFile.ts';

/** Where bytes stand that may be what a piece needs: they are hashed before they count. */
export interface EarlierBytes {
  /** Of the file. */
  readonly path: string;
  readonly position: number;
  readonly sizeBytes: number;
}

/** A file of an earlier version whose pieces were all written. */
export interface EarlierFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Of its pieces; undefined: nobody has checked that they make up the digest. */
  readonly hashes: readonly Uint8Array[] | undefined;
  readonly pieceLengthBytes: number;
}

/** What a version writes beside itself, so that a later one knows what its pieces are of. */
interface Manifest {
  readonly pieceLengthBytes: number;
  readonly files: readonly (LayoutFile & { readonly sha256?: string | undefined })[];
}

/** A thousand paths of a KiB with their digests, and as much again. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** Many times as many as a transfer may have: a list that says more is rotten. */
const MAX_PIECES = 1_048_576;

export async function writeManifest(
  folder: string,
  layout: Layout,
  digests: ReadonlyMap<string, string> | undefined,
  fileSystem: FileSystem,
): Promise<void> {
  const { pieceLengthBytes } = layout;
  const files = layout.files.map((file) => ({ ...file, sha256: digests?.get(file.path) }));
  const manifest: Manifest = { pieceLengthBytes, files };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const fresh = `${folder}.files.new`;
  await fileSystem.remove(fresh);
  const file = await fileSystem.open(fresh, 'create');
  try {
    await file.write(bytes, 0);
    await file.syncData();
  } finally {
    await file.close();
  }
  await fileSystem.rename(fresh, `${folder}.files`);
}

/** Bytes of all files of the version, as its list says; undefined: there is none that can be read. */
export async function listedBytes(
  folder: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<number | undefined> {
  const manifest = await readManifest(folder, fileSystem).catch(() => undefined);
  return manifest?.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** Of pieces that are not noted as written; undefined: nothing is said of them. */
export async function unnotedBytes(
  folder: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<number | undefined> {
  const manifest = await readManifest(folder, fileSystem).catch(() => undefined);
  if (manifest === undefined) return undefined;
  const layout = layoutOf(manifest.files, manifest.pieceLengthBytes);
  const { pieceCount } = layout;
  const state = await StateFile.read(`${folder}.state`, pieceCount, fileSystem);
  if (state.changedAtNs === undefined) return undefined;
  let bytes = 0;
  for (let piece = 0; piece < pieceCount; piece += 1) {
    if (state.noted(piece) === undefined) bytes += layout.pieceSizeBytes(piece);
  }
  return bytes;
}

/** Whether the version was completed, and its digests were right. */
async function isWholeVersion(folder: string, fileSystem: FileSystem): Promise<boolean> {
  return (await StateFile.told(folder, fileSystem)) === 'whole';
}

/** Those of the folders whose versions were completed, and had the right digests. */
export async function wholeVersions(folders: readonly string[]): Promise<string[]> {
  const whole = await Promise.all(folders.map((folder) => isWholeVersion(folder, nodeFileSystem)));
  return folders.filter((_, at) => whole[at]);
}

/**
 * What versions that this disk has already can give to another one: bytes by the hash of their
 * piece, and whole files by their digest. Only a help: whatever cannot be read is not there.
 */
export class EarlierVersions {
  readonly #byHash = new Map<string, EarlierBytes>();
  readonly #byDigest = new Map<string, EarlierFile>();

  static async read(folders: readonly string[], fileSystem: FileSystem): Promise<EarlierVersions> {
    const versions = new EarlierVersions();
    for (const folder of folders) {
      await versions.#add(folder, fileSystem).catch(() => {});
    }
    return versions;
  }

  bytesOf(hash: Uint8Array): EarlierBytes | undefined {
    return this.#byHash.get(Buffer.from(hash).toString('hex'));
  }

  fileOf(sha256: string, sizeBytes: number): EarlierFile | undefined {
    const file = this.#byDigest.get(sha256);
    return file?.sizeBytes === sizeBytes ? file : undefined;
  }

  async #add(folder: string, fileSystem: FileSystem): Promise<void> {
    const { pieceLengthBytes, files } = await readManifest(folder, fileSystem);
    const layout = layoutOf(files, pieceLengthBytes);
    const state = await StateFile.read(`${folder}.state`, layout.pieceCount, fileSystem);
    const digests = new Map(files.map((file) => [file.path, file.sha256]));
    let piece = 0;
    for (const file of layout.files) {
      const at = path.join(folder, file.path);
      const count = Math.ceil(file.sizeBytes / pieceLengthBytes);
      const hashes: Uint8Array[] = [];
      for (let index = 0; index < count; index += 1, piece += 1) {
        const noted = state.noted(piece);
        if (noted === undefined) continue;
        const hash = Uint8Array.from(noted.hash);
        hashes.push(hash);
        const position = index * pieceLengthBytes;
        const sizeBytes = layout.pieceSizeBytes(piece);
        this.#byHash.set(Buffer.from(hash).toString('hex'), { path: at, position, sizeBytes });
      }
      const sha256 = digests.get(file.path);
      if (sha256 === undefined || hashes.length < count || count === 0) continue;
      const proven = state.isWhole ? hashes : undefined;
      const known = { path: at, sizeBytes: file.sizeBytes, hashes: proven, pieceLengthBytes };
      if (this.#byDigest.get(sha256)?.hashes === undefined) this.#byDigest.set(sha256, known);
    }
  }
}

async function readManifest(folder: string, fileSystem: FileSystem): Promise<Manifest> {
  const file = await fileSystem.open(`${folder}.files`, 'read');
  try {
    const { sizeBytes } = await file.facts();
    if (sizeBytes > MAX_MANIFEST_BYTES) throw new Error('the list of files is too long');
    const bytes = Buffer.alloc(sizeBytes);
    await file.read(bytes, 0);
    const manifest = JSON.parse(bytes.toString('utf8')) as Manifest;
    if (!isManifest(manifest)) throw new Error('it is no list of files');
    return manifest;
  } finally {
    await file.close();
  }
}

/** Written by us, and yet: a disk may give back anything. */
function isManifest(value: Manifest): boolean {
  return (
    Number.isSafeInteger(value?.pieceLengthBytes) &&
    value.pieceLengthBytes > 0 &&
    Array.isArray(value.files) &&
    piecesOf(value) <= MAX_PIECES &&
    value.files.every(
      ({ path: relative, sizeBytes, sha256 }) =>
        typeof relative === 'string' &&
        !relative.split('/').includes('..') &&
        Number.isSafeInteger(sizeBytes) &&
        sizeBytes >= 0 &&
        (sha256 === undefined || typeof sha256 === 'string'),
    )
  );
}

/** NaN where it is none: that is not few enough. */
function piecesOf({ pieceLengthBytes, files }: Manifest): number {
  return files.reduce((sum, file) => sum + Math.ceil(file?.sizeBytes / pieceLengthBytes), 0);
}
