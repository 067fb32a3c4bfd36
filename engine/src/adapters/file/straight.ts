/**
 * Straight ways: what a path names is reached through no link, and opening it never waits.
 *
 * A pod that mounts a version as root can change what is in it: a folder becomes a link into another
 * namespace, a file a pipe that nobody writes to. O_NOFOLLOW looks at the last name alone, and what
 * was looked at before may be another thing when it is opened. So what was opened is asked where it
 * is, and what is to be made, renamed or removed in a folder is named through that folder, opened:
 * whatever its path leads to by then, the kernel goes on from what was looked at.
 */
import { constants, fstatSync, readlinkSync } from 'node:fs';
import {
  chmod,
  copyFile,
  type FileHandle,
  open,
  readdir,
  rename,
  rmdir,
  unlink,
} from 'node:fs/promises';
import path from 'node:path';
import { StoreError } from './storeError.ts';
import { unlessMissing } from './unlessMissing.ts';

/** O_NONBLOCK: of a pipe the other end is not waited for; to files and folders it means nothing. */
const NO_WAIT = constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
/** Names what is there, whatever it permits; the same number on all that Node runs on with Linux. */
const O_PATH = 0o10000000;
const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY;

/** A name of what is open, for the kernel; below it a folder's entries can be named. */
function nameOf(handle: FileHandle): string {
  return `/proc/self/fd/${handle.fd}`;
}

/** Of a file that is there. */
export function openFile(at: string, flags: number): Promise<FileHandle> {
  return opened(at, at, flags);
}

/** As openFile; makes it where it is missing. */
export function openOrMakeFile(at: string, flags: number, mode: number): Promise<FileHandle> {
  return inFolderOf(at, (name) => opened(name, at, flags | constants.O_CREAT, mode));
}

/** Of a file, whatever it permits now. */
export async function setFileMode(at: string, mode: number): Promise<void> {
  const handle = await opened(at, at, O_PATH);
  try {
    await chmod(nameOf(handle), mode);
  } finally {
    await handle.close();
  }
}

/** Does something to the entry under the name that it is given. */
export function inFolderOf<Result>(
  at: string,
  work: (name: string) => Promise<Result>,
): Promise<Result> {
  return withFolder(path.dirname(at), (folder) => work(`${nameOf(folder)}/${path.basename(at)}`));
}

/** Opens the folder for as long as the work takes. */
export async function withFolder<Result>(
  at: string,
  work: (folder: FileHandle) => Promise<Result>,
): Promise<Result> {
  const folder = await open(at, FOLDER | NO_WAIT);
  try {
    checkPlace(folder, at);
    return await work(folder);
  } catch (error) {
    throw named(error, nameOf(folder), at);
  } finally {
    await folder.close();
  }
}

export function renameStraight(from: string, to: string): Promise<void> {
  return inFolderOf(from, (source) => inFolderOf(to, (target) => rename(source, target)));
}

/** See FileSystem.clone; rejects where the disk cannot do that. */
export async function cloneStraight(from: FileHandle, to: string): Promise<void> {
  const how = constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL;
  await inFolderOf(to, (name) => copyFile(nameOf(from), name, how));
}

export function list(at: string): Promise<string[]> {
  return withFolder(at, (folder) => readdir(nameOf(folder)));
}

/** False: it is a folder, and stays. */
export async function removeFile(at: string): Promise<boolean> {
  return (await unlessMissing(() => inFolderOf(at, isUnlinked))) ?? true;
}

/** With all that is in it, and of links what they are, not what they lead to. */
export async function removeStraight(at: string): Promise<void> {
  if (await removeFile(at)) return;
  await unlessMissing(() => withFolder(at, (folder) => empty(folder, at)));
  await unlessMissing(() => inFolderOf(at, rmdir));
}

/** A folder that is gone down from. */
interface Left {
  readonly dev: bigint;
  readonly ino: bigint;
  /** Of the folder that is gone down to. */
  readonly name: Buffer;
  /** That are still to be removed. */
  readonly folders: Buffer[];
}

/**
 * From one folder into the next, and back by `..`: whoever wrote them may have made more of them, one
 * in the other, than a path has room for, or a process may have open.
 */
async function empty(top: FileHandle, at: string): Promise<void> {
  const above: Left[] = [];
  let here = await open(`${nameOf(top)}/.`, FOLDER | NO_WAIT);
  const step = async (name: Buffer) => {
    const next = await open(entryOf(here, name), FOLDER | NO_WAIT);
    await here.close();
    here = next;
    return here;
  };
  try {
    let folders = await unlinkIn(here);
    for (;;) {
      const name = folders.pop();
      if (name !== undefined) {
        const left = { ...(await identityOf(here)), name, folders };
        if ((await unlessMissing(() => step(name))) === undefined) continue;
        above.push(left);
        folders = await unlinkIn(here);
        continue;
      }
      const left = above.pop();
      if (left === undefined) return;
      await step(PARENT);
      const { dev, ino } = await identityOf(here);
      if (dev !== left.dev || ino !== left.ino) {
        throw new StoreError('PathConflict', `${at} is in the way: its folders are being moved`);
      }
      await unlessMissing(() => rmdir(entryOf(here, left.name)));
      folders = left.folders;
    }
  } catch (error) {
    throw named(error, nameOf(here), above.length === 0 ? at : `${at}/…`);
  } finally {
    await here.close();
  }
}

const PARENT = Buffer.from('..');

/** Names are bytes to the kernel, and need be no text. */
function entryOf(folder: FileHandle, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${nameOf(folder)}/`), name]);
}

/** All but its folders, which are answered. */
async function unlinkIn(folder: FileHandle): Promise<Buffer[]> {
  const folders: Buffer[] = [];
  for (const name of await readdir(nameOf(folder), { encoding: 'buffer' })) {
    if (!(await isUnlinked(entryOf(folder, name)))) folders.push(name);
  }
  return folders;
}

async function identityOf(folder: FileHandle): Promise<{ dev: bigint; ino: bigint }> {
  const { dev, ino } = await folder.stat({ bigint: true });
  return { dev, ino };
}

/** False: it is a folder. */
async function isUnlinked(name: string | Buffer): Promise<boolean> {
  try {
    await unlink(name);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return true;
    if (code === 'EISDIR') return false;
    throw error;
  }
}

async function opened(name: string, at: string, flags: number, mode?: number): Promise<FileHandle> {
  const handle = await open(name, flags | NO_WAIT, mode);
  try {
    checkPlace(handle, at);
    // Of what is open the kernel knows it: no disk is asked.
    if (!fstatSync(handle.fd).isFile()) {
      throw new StoreError('PathConflict', `${at} is in the way: it is no file`);
    }
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The kernel keeps the name that it found, all links resolved, and follows it when that changes. */
function checkPlace(handle: FileHandle, at: string): void {
  const found = readlinkSync(nameOf(handle), { encoding: 'buffer' });
  if (found.equals(Buffer.from(at))) return;
  throw new StoreError('PathConflict', `${at} is in the way: it leads to ${found}`);
}

/** People look for the path that they know. */
function named(error: unknown, name: string, at: string): unknown {
  if (error instanceof Error) error.message = error.message.replaceAll(`${name}/`, `${at}/`);
  return error;
}
