import type { DiskJob, DiskResult } from './diskWork.ts';

/**
 * What a store needs of the operating system, and no more, so that a test can lose what was not
 * synced and fail where it likes. Everything rejects with the system's errors, by their `code`.
 *
 * Paths are absolute, and lead through no link: by one that does nothing is opened, made, renamed or
 * removed (`PathConflict`), also where a folder has become a link a moment ago.
 */
export interface FileSystem {
  /** Of the running kernel: another one means that what was not synced may be lost. */
  bootId(): string;
  /** Of what stands there itself, never of what a link leads to. Undefined: nothing. */
  facts(path: string): Promise<FileFacts | undefined>;
  /** One folder, whose parent exists; EEXIST when something is there. */
  makeFolder(path: string): Promise<void>;
  /** A file; anything else is a PathConflict, at once. */
  open(path: string, access: FileAccess): Promise<OpenedFile>;
  readLink(path: string): Promise<string | undefined>;
  makeLink(target: string, path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /**
   * Makes `to` share the bytes of `from` until one of them changes; what stood at `to` is gone.
   * False: the file system cannot do that, and nothing is there.
   */
  clone(from: string, to: string): Promise<boolean>;
  /** With all that is in it; nothing there is fine. */
  remove(path: string): Promise<void>;
  list(folder: string): Promise<string[]>;
  /** The entries of the folder are on the disk then, what they name is not thereby. */
  syncFolder(path: string): Promise<void>;
  /** On the one thread that hashes and writes, in order. */
  run(job: DiskJob): Promise<DiskResult>;
}

/** `create` opens for reading and writing, and makes the file when it is missing. */
export type FileAccess = 'read' | 'write' | 'create';

export interface FileFacts {
  readonly kind: 'file' | 'folder' | 'link' | 'other';
  readonly sizeBytes: number;
  /** Permission bits. */
  readonly mode: number;
  /** When bytes or attributes were changed last (ctime), in nanoseconds; nobody can set it back. */
  readonly changedAtNs: bigint;
}

export interface OpenedFile {
  readonly descriptor: number;
  facts(): Promise<FileFacts>;
  truncate(sizeBytes: number): Promise<void>;
  /** Answers how many bytes there were. */
  read(into: Uint8Array, position: number): Promise<number>;
  write(bytes: Uint8Array, position: number): Promise<void>;
  setMode(mode: number): Promise<void>;
  /** Bytes and what is needed to read them. */
  syncData(): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}
