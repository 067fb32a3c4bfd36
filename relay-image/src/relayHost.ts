import path from 'node:path';
import { wholeVersions } from '@sluice/engine/adapters/file/earlierVersions.ts';
import { nodeFileSystem } from '@sluice/engine/adapters/file/nodeFileSystem.ts';
import {
  deleteEpoch,
  epochsIn,
  namesIn,
  removeIfEmpty,
} from '@sluice/protocol/client/epochFolders.ts';
import { type TaskHost, taskKey } from '@sluice/protocol/client/workLoop.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { CacheRoom, type CacheRoomOptions } from './cacheRoom.ts';
import { RelayTask, type RelayTaskDependencies } from './relayTask.ts';

/** Versions live in `<cacheFolder>/<uid>/<epoch>/`; this process alone uses it. */
export type RelayHostOptions = CacheRoomOptions;
type Dependencies = Omit<RelayTaskDependencies, 'onChange' | 'room'>;

/** A relay keeps the files of a task only as long as the control server names the task. */
export class RelayHost implements TaskHost {
  readonly #options: RelayHostOptions;
  readonly #dependencies: Dependencies;
  readonly #room: CacheRoom;

  constructor(options: RelayHostOptions, dependencies: Dependencies) {
    this.#options = options;
    this.#room = new CacheRoom(options);
    this.#dependencies = dependencies;
  }

  create(task: Task, onChange: () => void): RelayTask {
    const folder = path.join(this.#folderOf(task.uid), String(task.epoch));
    const earlier = () => this.#earlier(task);
    const donors = (now: Task) => this.#wholeDonors(now);
    return new RelayTask(
      { task, folder, earlier, donors },
      { ...this.#dependencies, room: this.#room, onChange },
    );
  }

  deleteFiles(uid: string, epoch: number | undefined): Promise<number[]> {
    return this.#delete(uid, (each) => epoch === undefined || each === epoch);
  }

  /**
   * What an earlier run, or a task that is gone, has left behind only costs space; but the epoch
   * before a named one may have what that needs, until the control server says that it goes.
   */
  async synced(epochs: ReadonlySet<string>): Promise<void> {
    for (const uid of await namesIn(this.#options.cacheFolder)) {
      const here = await epochsIn(this.#folderOf(uid));
      const named = here.filter((epoch) => epochs.has(taskKey({ uid, epoch })));
      const before = here.findLast((epoch) => epoch < Math.max(...named));
      await this.#delete(uid, (epoch) => !named.includes(epoch) && epoch !== before);
    }
  }

  async #earlier({ uid, epoch }: Task): Promise<string[]> {
    const folder = this.#folderOf(uid);
    const epochs = (await epochsIn(folder)).filter((each) => each < epoch);
    return epochs.reverse().map((each) => path.join(folder, String(each)));
  }

  #wholeDonors({ donors = [] }: Task): Promise<string[]> {
    return wholeVersions(
      donors.map(({ uid, epoch }) => path.join(this.#folderOf(uid), String(epoch))),
    );
  }

  async #delete(uid: string, isUnwanted: (epoch: number) => boolean): Promise<number[]> {
    const folder = this.#folderOf(uid);
    const unwanted = (await epochsIn(folder)).filter(isUnwanted);
    for (const epoch of unwanted) await deleteEpoch(folder, epoch, nodeFileSystem.remove);
    if (unwanted.length > 0) await removeIfEmpty(folder);
    return unwanted;
  }

  #folderOf(uid: string): string {
    return path.join(this.#options.cacheFolder, uid);
  }
}
