/** Other versions on the same disk, of which a task may take what they have. */
import type { TaskLife } from './taskLife.ts';

export interface DonorFoldersDependencies {
  readonly life: Pick<TaskLife, 'renewer'>;
  /** Folders of those that are whole now. */
  readonly whole: () => Promise<readonly string[]>;
  /** Whether the attempt that is under way still lacks something. */
  readonly isLacking: () => boolean;
}

export class DonorFolders {
  readonly #dependencies: DonorFoldersDependencies;
  /** That the attempt takes from, if what it needs is there. */
  #taken: ReadonlySet<string> = new Set();

  constructor(dependencies: DonorFoldersDependencies) {
    this.#dependencies = dependencies;
  }

  /** For the attempt that begins. */
  async take(): Promise<readonly string[]> {
    const folders = await this.#dependencies.whole();
    this.#taken = new Set(folders);
    return folders;
  }

  /** What another version has by now is not fetched: the attempt begins anew with it. Never rejects. */
  async look(): Promise<void> {
    const { life, whole, isLacking } = this.#dependencies;
    const renew = life.renewer();
    const folders = await whole().catch(() => []);
    if (folders.some((folder) => !this.#taken.has(folder)) && isLacking()) renew();
  }
}
