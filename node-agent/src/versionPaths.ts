import path from 'node:path';
import type { Donor, Task } from '@sluice/protocol/messages.ts';

/** Under each namespace's folder, what the agent keeps for itself. */
export const HIDDEN_FOLDER = '.sluice';

export interface VersionPaths {
  /** `<root>/<namespace>`. */
  readonly namespaceFolder: string;
  /** `<root>/<namespace>/.sluice/<uid>`. */
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
  const { namespace, uid, epoch, target } = task;
  const { namespaceFolder, distributionFolder } = distributionPathsOf(root, namespace, uid);
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

/** The version that the control server lets another one use. */
export function donorFolderOf(root: string, { namespace, uid, epoch }: Donor): string {
  return path.join(distributionPathsOf(root, namespace, uid).distributionFolder, String(epoch));
}

function distributionPathsOf(
  root: string,
  namespace: string,
  uid: string,
): Pick<VersionPaths, 'namespaceFolder' | 'distributionFolder'> {
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(namespace)) {
    throw new UnsafeTaskError(`"${namespace}" is no namespace`);
  }
  if (!/^[A-Za-z0-9-]+$/.test(uid)) throw new UnsafeTaskError(`"${uid}" is no uid`);
  const namespaceFolder = path.join(root, namespace);
  return { namespaceFolder, distributionFolder: path.join(namespaceFolder, HIDDEN_FOLDER, uid) };
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
