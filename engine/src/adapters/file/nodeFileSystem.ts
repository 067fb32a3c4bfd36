import { type BigIntStats, constants, readFileSync } from 'node:fs';
import {
  chmod,
  copyFile,
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
} from 'node:fs/promises';
import { diskThread } from './diskThread.ts';
import type { FileAccess, FileFacts, FileSystem, OpenedFile } from './fileSystem.ts';

const FLAGS: Readonly<Record<FileAccess, number>> = {
  read: constants.O_RDONLY | constants.O_NOFOLLOW,
  write: constants.O_RDWR | constants.O_NOFOLLOW,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW,
};
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

  facts: (path) => missingIsUndefined(async () => factsOf(await lstat(path, { bigint: true }))),

  makeFolder: async (path) => {
    await mkdir(path, { mode: 0o755 });
  },

  open: async (path, access) => {
    const opened = () => open(path, FLAGS[access], WRITABLE_MODE);
    try {
      return new NodeFile(await opened());
    } catch (error) {
      // A placed file may be read-only, and root without capabilities has no more rights than it says.
      if ((error as NodeJS.ErrnoException).code !== 'EACCES' || access === 'read') throw error;
      await chmod(path, WRITABLE_MODE);
      return new NodeFile(await opened());
    }
  },

  readLink: (path) => missingIsUndefined(() => readlink(path)),
  makeLink: (target, path) => symlink(target, path),
  rename,

  clone: async (from, to) => {
    await rm(to, { force: true });
    try {
      await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
      return true;
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (CANNOT_CLONE.has(code)) return false;
      throw error;
    }
  },

  remove: (path) => rm(path, { recursive: true, force: true }),
  list: (folder) => readdir(folder),

  syncFolder: async (path) => {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },

  run: (job) => diskThread.run(job),
};

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

async function missingIsUndefined<Found>(look: () => Promise<Found>): Promise<Found | undefined> {
  try {
    return await look();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
