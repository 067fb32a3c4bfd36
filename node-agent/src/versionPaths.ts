import { realpath } from 'node:fs/promises';
import path from 'node:path';
import { realFolder } from '@sluice/protocol/client/epochFolders.ts';
import type { Donor, Task } from '@sluice/protocol/messages.ts';

/** Under each namespace's folder, what the agent keeps for itself. */
export const HIDDEN_FOLDER = '.sluice';

export interface VersionPaths {
  /** `<root>/<namespace>`, or what that leads to. */
  readonly namespaceFolder: string;
  /** In that, `.sluice/<uid>`. */
  readonly distributionFolder: string;
  /** The version, built aside. */
  readonly versionFolder: string;
  /** The symlink that makes it visible. */
  readonly link: string;
}

export class UnsafeTaskError extends Error {
  readonly code = 'UnsafePath';

  constructor(message: string) {
    super(message);
    this.name = 'UnsafeTaskError';
  }
}

/** Where a task's files go; throws for anything that could lead out of the namespace's folder. */
export function versionPathsOf(root: string, task: Task): VersionPaths {
  return pathsIn(namespaceFolderOf(root, task.namespace), task);
}

/**
 * As versionPathsOf, through no link, and makes the namespace's folder. An administrator may have made
 * a link of that folder, to another disk: no pod has the root itself.
 */
export async function realPathsOf(root: string, task: Task): Promise<VersionPaths> {
  const { namespaceFolder } = versionPathsOf(root, task);
  return pathsIn(await realFolder(namespaceFolder), task);
}

function pathsIn(namespaceFolder: string, task: Task): VersionPaths {
  const { uid, epoch, target } = task;
  const distributionFolder = distributionFolderOf(namespaceFolder, uid);
  if (target === undefined) throw new UnsafeTaskError('the task names no target path');
  checkRelative(target.path, 'target.path');
  for (const file of task.files) checkRelative(file.path, 'a file');
  return {
    namespaceFolder,
    distributionFolder,
    versionFolder: path.join(distributionFolder, String(epoch)),
    link: path.join(namespaceFolder, target.path),
  };
}

/** The version that the control server lets another one use; undefined: its namespace has no folder. */
export async function donorFolderOf(
  root: string,
  { namespace, uid, epoch }: Donor,
): Promise<string | undefined> {
  const folder = await realNamespaceFolder(namespaceFolderOf(root, namespace));
  return folder && path.join(distributionFolderOf(folder, uid), String(epoch));
}

/** Through no link; undefined: there is no such folder. */
export async function realNamespaceFolder(folder: string): Promise<string | undefined> {
  try {
    return await realpath(`${folder}/`);
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code)) return undefined;
    throw error;
  }
}

function namespaceFolderOf(root: string, namespace: string): string {
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(namespace)) {
    throw new UnsafeTaskError(`"${namespace}" is no namespace`);
  }
  return path.join(root, namespace);
}

function distributionFolderOf(namespaceFolder: string, uid: string): string {
  if (!/^[A-Za-z0-9-]+$/.test(uid)) throw new UnsafeTaskError(`"${uid}" is no uid`);
  return path.join(namespaceFolder, HIDDEN_FOLDER, uid);
}

function checkRelative(relative: string, what: string): void {
  const segments = relative.split('/');
  const wrong = segments.find(
    (each) => each === '' || each === '.' || each === '..' || each.includes('\0'),
  );
  if (wrong !== undefined || segments[0] === HIDDEN_FOLDER) {
    throw new UnsafeTaskError(
      `${what} "${relative}" must be relative, without empty, "." or ".." segments, and not start with ${HIDDEN_FOLDER}`,
    );
  }
}
