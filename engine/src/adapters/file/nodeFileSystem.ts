import { type BigIntStats, constants, readFileSync } from 'node:fs';
import { type FileHandle, lstat, mkdir, readlink, symlink } from 'node:fs/promises';
import { diskThread } from './diskThread.ts';
import type { FileAccess, FileFacts, FileSystem, OpenedFile } from './fileSystem.ts';
import {
  cloneStraight,
  inFolderOf,
  list,
  openFile,
  openOrMakeFile,
  removeFile,
  removeStraight,
  renameStraight,
  setFileMode,
  withFolder,
} from './straight.ts';
import { unlessMissing } from './unlessMissing.ts';

const WRITABLE_MODE = 0o644;
/** What the kernel says where bytes cannot be shared. */
const CANNOT_CLONE: ReadonlySet<string> = new Set([
  'ENOTSUP',
  'EOPNOTSUPP',
  'ENOSYS',
  'ENOTTY',
  'EINVAL',
  'EXDEV',
  'ENOENT',
]);

class NodeFile implements OpenedFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  get descriptor(): number {
    return this.#handle.fd;
  }

  async facts(): Promise<FileFacts> {
    return factsOf(await this.#handle.stat({ bigint: true }));
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#handle.truncate(sizeBytes);
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let at = 0;
    while (at < into.byteLength) {
      const { bytesRead } = await this.#handle.read(into, at, into.byteLength - at, position + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return at;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    let at = 0;
    while (at < bytes.byteLength) {
      const left = bytes.byteLength - at;
      at += (await this.#handle.write(bytes, at, left, position + at)).bytesWritten;
    }
  }

  setMode(mode: number): Promise<void> {
    return this.#handle.chmod(mode);
  }

  syncData(): Promise<void> {
    return this.#handle.datasync();
  }

  sync(): Promise<void> {
    return this.#handle.sync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

export const nodeFileSystem: FileSystem = {
  bootId: () => bootId,

  facts: (path) => unlessMissing(async () => factsOf(await lstat(path, { bigint: true }))),

  makeFolder: (path) => inFolderOf(path, (name) => mkdir(name, { mode: 0o755 })),

  open: async (path, access) => {
    try {
      return new NodeFile(await opened(path, access));
    } catch (error) {
      // A placed file may be read-only, and root without capabilities has no more rights than it says.
      if ((error as NodeJS.ErrnoException).code !== 'EACCES' || access === 'read') throw error;
      await setFileMode(path, WRITABLE_MODE);
      return new NodeFile(await opened(path, access));
    }
  },

  readLink: (path) => unlessMissing(() => readlink(path)),
  makeLink: (target, path) => inFolderOf(path, (name) => symlink(target, name)),
  rename: renameStraight,

  clone: async (from, to) => {
    await removeFile(to);
    // Only a help: what cannot be opened is not there.
    const source = await openFile(from, constants.O_RDONLY).catch(() => undefined);
    if (source === undefined) return false;
    try {
      await cloneStraight(source, to);
      return true;
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (CANNOT_CLONE.has(code)) return false;
      throw error;
    } finally {
      await source.close();
    }
  },

  remove: removeStraight,
  list,
  syncFolder: (path) => withFolder(path, (folder) => folder.sync()),

  run: (job) => diskThread.run(job),
};

function opened(path: string, access: FileAccess): Promise<FileHandle> {
  if (access === 'create') return openOrMakeFile(path, constants.O_RDWR, WRITABLE_MODE);
  return openFile(path, access === 'read' ? constants.O_RDONLY : constants.O_RDWR);
}

const bootId = readBootId();

function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().slice(0, 36);
  } catch {
    // Without one every start counts as another boot: slower, never wrong.
    return crypto.randomUUID();
  }
}

function factsOf(stats: BigIntStats): FileFacts {
  const kinds = [
    ['file', stats.isFile()],
    ['folder', stats.isDirectory()],
    ['link', stats.isSymbolicLink()],
  ] as const;
  return {
    kind: kinds.find(([, is]) => is)?.[0] ?? 'other',
    sizeBytes: Number(stats.size),
    mode: Number(stats.mode) & 0o7777,
    changedAtNs: stats.ctimeNs,
  };
}
