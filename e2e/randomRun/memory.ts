/** What a run has seen when it was at rest, and what was to stay when it was deleted. */
import type { DiskFacts } from './diskFacts.ts';
import type { Version } from './steps.ts';

/** Of a node: its object's uid, for one that is installed anew has nothing. */
export type PlaceKey = string;

export function placeKey(nodeUid: string, name: string): PlaceKey {
  return `${nodeUid} ${name}`;
}

export class Memory {
  /** Epochs that were whole on a node at the last rest, by the name of the Distribution. */
  versions: ReadonlyMap<PlaceKey, readonly number[]> = new Map();
  /** What the epochs are that were seen at rest, by `<uid>/<epoch>`. */
  readonly contents = new Map<string, Version>();
  /** Uids whose files may stay where they are, though nobody knows them any more. */
  readonly orphans = new Set<string>();
  /** Paths that may show such files. */
  readonly orphanedPaths = new Set<string>();
  /** By path: the uid whose link must stay, until another Distribution comes there. */
  readonly retained = new Map<PlaceKey, string>();
  /** Where somebody has damaged files: of earlier versions nobody mends them. */
  readonly damaged = new Set<PlaceKey>();
  /** Names of events that were judged. */
  events: ReadonlySet<string> = new Set();

  /** What stood there before the run, retained by others: it may stay. */
  found(disks: ReadonlyMap<string, DiskFacts>): void {
    for (const { links, folders } of disks.values()) {
      for (const { uid } of folders) this.orphans.add(uid);
      for (const path of links.keys()) this.orphanedPaths.add(path);
    }
  }

  /**
   * A Distribution at this path, with this uid, is about to be deleted. `stay`: what is shown must
   * go on being so; else only what nodes that left it may have stays.
   */
  retain(path: string, uid: string, stay: boolean, disks: ReadonlyMap<string, DiskFacts>): void {
    this.orphans.add(uid);
    this.orphanedPaths.add(path);
    for (const [nodeUid, { links, folders }] of disks) {
      for (const folder of folders) {
        // Under the uid of the Distribution that it was adopted from, perhaps.
        if (folder.path === path) this.orphans.add(folder.uid);
      }
      const shown = /^\.sluice\/([^/]+)\/\d+$/.exec(links.get(path) ?? '');
      if (stay && shown?.[1] !== undefined) this.retained.set(placeKey(nodeUid, path), shown[1]);
    }
  }

  /** A Distribution comes to this path, and takes it over. */
  takeOver(path: string): void {
    for (const key of this.retained.keys()) {
      if (key.endsWith(` ${path}`)) this.retained.delete(key);
    }
  }
}
