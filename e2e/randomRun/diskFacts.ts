/** What a node's disk has of Sluice: links, and versions beside what the agent keeps of them. */
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import path from 'node:path';
import { wholeVersions } from '@sluice/engine/adapters/file/earlierVersions.ts';
import { epochsIn, namesIn } from '@sluice/protocol/client/epochFolders.ts';
import type { ClusterNode } from '../cluster/cluster.ts';
import { relayCachesOn } from '../install/remains.ts';
import type { Sluice } from '../install/sluice.ts';

export interface VersionFacts {
  readonly epoch: number;
  /** Completed, and with the right digests. */
  readonly isWhole: boolean;
}

/** What a node has under one uid. */
export interface FolderFacts {
  readonly uid: string;
  /** Where its versions become visible, as the agent has noted. */
  readonly path: string | undefined;
  /** The oldest first. */
  readonly versions: readonly VersionFacts[];
  /** Names that are neither versions nor of them. */
  readonly strange: readonly string[];
}

export interface DiskFacts {
  readonly node: string;
  /** Where the links lead, by name. */
  readonly links: ReadonlyMap<string, string>;
  readonly folders: readonly FolderFacts[];
  /** What is not of this run: other namespaces, and what is no link. */
  readonly strange: readonly string[];
  readonly relayCaches: readonly string[];
}

const NAMESPACE = 'default';
const HIDDEN = '.sluice';
const NOTE = 'link';

export async function readDisk(sluice: Sluice, node: ClusterNode): Promise<DiskFacts> {
  const root = sluice.root(node);
  const folder = path.join(root, NAMESPACE);
  const strange = (await namesIn(root)).filter((name) => name !== NAMESPACE);
  const links = new Map<string, string>();
  for (const name of await namesIn(folder)) {
    if (name === HIDDEN) continue;
    const entry = path.join(folder, name);
    if ((await lstat(entry)).isSymbolicLink()) links.set(name, await readlink(entry));
    else strange.push(`${NAMESPACE}/${name}`);
  }
  const folders: FolderFacts[] = [];
  for (const uid of await namesIn(path.join(folder, HIDDEN))) {
    folders.push(await readFolder(path.join(folder, HIDDEN, uid)));
  }
  const relayCaches = await relayCachesOn(node);
  return { node: node.name, links, folders, strange, relayCaches };
}

async function readFolder(folder: string): Promise<FolderFacts> {
  const epochs = await epochsIn(folder);
  const whole = new Set(await wholeVersions(epochs.map((epoch) => path.join(folder, `${epoch}`))));
  const names = await readdir(folder);
  const note = await readFile(path.join(folder, NOTE), 'utf8').catch(() => undefined);
  return {
    uid: path.basename(folder),
    path: note,
    versions: epochs.map((epoch) => {
      return { epoch, isWhole: whole.has(path.join(folder, String(epoch))) };
    }),
    strange: names.filter((name) => name !== NOTE && !/^\d+(\.(state|files|feed))?$/.test(name)),
  };
}
