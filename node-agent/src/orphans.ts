/**
 * Files of which the control server says nothing: of Distributions that were deleted with `Retain`, or
 * whose grace lasts, or that the database does not know. They are counted and named, and stay until
 * somebody says that they go: docs/adr/0040. Nothing here deletes.
 */
import path from 'node:path';
import { inUnits } from '@sluice/engine/adapters/file/diskSpace.ts';
import { listedBytes } from '@sluice/engine/adapters/file/earlierVersions.ts';
import { epochsIn, namesIn } from '@sluice/protocol/client/epochFolders.ts';
import type { TransferReport } from '@sluice/protocol/messages.ts';
import type { Logger } from 'winston';
import { linkOf } from './deletion.ts';
import { HIDDEN_FOLDER, realNamespaceFolder } from './versionPaths.ts';

export interface Orphan {
  readonly namespace: string;
  /** Of the Distribution that brought them. */
  readonly uid: string;
  /** Where they are, or were, visible in the namespace's folder; undefined: nobody has noted it. */
  readonly path: string | undefined;
  /** By the lists of its versions; one without a list counts nothing. */
  readonly sizeBytes: number;
}

export interface OrphansOptions {
  readonly root: string;
  /** Uids of the tasks that this process has now. */
  readonly named: () => ReadonlySet<string>;
}

export class Orphans {
  readonly #options: OrphansOptions;
  readonly #logger: Logger;
  /** By folder of the version: nobody makes it, so its list does not change. */
  readonly #listed = new Map<string, number>();
  readonly #told = new Set<string>();
  #isSynced = false;
  #resting: ReadonlySet<string> = new Set();

  constructor(options: OrphansOptions, { logger }: { readonly logger: Logger }) {
    this.#options = options;
    this.#logger = logger;
  }

  /**
   * The control server has said everything that is so: what has no task is not only late. `resting`:
   * uids of what lives and has none now.
   */
  async synced(resting: readonly string[] = []): Promise<void> {
    this.#isSynced = true;
    this.#resting = new Set(resting);
    await this.list();
  }

  /** Of one namespace, or of all; the largest first. Undefined: nobody can tell yet. */
  async list(namespace?: string): Promise<readonly Orphan[] | undefined> {
    if (!this.#isSynced) return undefined;
    const { root, named } = this.#options;
    const names = new Set([...named(), ...this.#resting]);
    for (const uid of names) this.#told.delete(uid);
    const orphans: Orphan[] = [];
    for (const each of namespace === undefined ? await namesIn(root) : [namespace]) {
      const namespaceFolder = await realNamespaceFolder(path.join(root, each));
      if (namespaceFolder === undefined) continue;
      for (const uid of await namesIn(path.join(namespaceFolder, HIDDEN_FOLDER))) {
        if (names.has(uid)) continue;
        const orphan = await this.#look(each, namespaceFolder, uid);
        if (orphan !== undefined) orphans.push(orphan);
      }
    }
    if (namespace === undefined) this.#forgetBut(orphans);
    for (const orphan of orphans) this.#tell(orphan);
    return orphans.sort((a, b) => b.sizeBytes - a.sizeBytes);
  }

  async #look(
    namespace: string,
    namespaceFolder: string,
    uid: string,
  ): Promise<Orphan | undefined> {
    const folder = path.join(namespaceFolder, HIDDEN_FOLDER, uid);
    const epochs = await epochsIn(folder);
    if (epochs.length === 0) return undefined;
    let sizeBytes = 0;
    for (const epoch of epochs) sizeBytes += await this.#sizeOf(path.join(folder, String(epoch)));
    const link = await linkOf(namespaceFolder, folder);
    return { namespace, uid, path: link && path.relative(namespaceFolder, link), sizeBytes };
  }

  async #sizeOf(versionFolder: string): Promise<number> {
    const known = this.#listed.get(versionFolder);
    if (known !== undefined) return known;
    const sizeBytes = await listedBytes(versionFolder);
    if (sizeBytes !== undefined) this.#listed.set(versionFolder, sizeBytes);
    return sizeBytes ?? 0;
  }

  /** What is gone, or is somebody's, need not be known. */
  #forgetBut(orphans: readonly Orphan[]): void {
    const uids = new Set(orphans.map(({ uid }) => uid));
    for (const versionFolder of this.#listed.keys()) {
      if (!uids.has(path.basename(path.dirname(versionFolder)))) this.#listed.delete(versionFolder);
    }
    for (const uid of this.#told) if (!uids.has(uid)) this.#told.delete(uid);
  }

  /** Once each time that it becomes one: whoever looks for what takes the disk finds their names in the log. */
  #tell(orphan: Orphan): void {
    if (this.#told.has(orphan.uid)) return;
    this.#told.add(orphan.uid);
    this.#logger.info('files that no task names', { ...orphan });
  }
}

/** Whose files the reports are about; of those that were removed nothing is left to name. */
export function namedIn(
  reports: readonly Pick<TransferReport, 'uid' | 'state'>[],
): ReadonlySet<string> {
  return new Set(reports.filter(({ state }) => state !== 'removed').map(({ uid }) => uid));
}

/** Of all names together: a message about a node has 1,024 characters. */
const MAX_NAMES_LENGTH = 400;

/** For a refusal: what nobody may need any more; undefined: nothing. */
export function bytesInWords(orphans: readonly Orphan[]): string | undefined {
  const sizeBytes = orphans.reduce((sum, orphan) => sum + orphan.sizeBytes, 0);
  return sizeBytes === 0 ? undefined : `${inUnits(sizeBytes)} that no Distribution names`;
}

/** Their names, for nobody but those to whom the namespace belongs. */
export function namesInWords(orphans: readonly Orphan[]): string {
  const shown: string[] = [];
  let length = 0;
  for (const { path: at, uid } of orphans) {
    const name = at === undefined ? uid : `${at} (${uid})`;
    length += name.length + 2;
    if (length > MAX_NAMES_LENGTH) break;
    shown.push(name);
  }
  const more = orphans.length - shown.length;
  return [...shown, ...(more > 0 ? [`${more} more`] : [])].join(', ');
}
