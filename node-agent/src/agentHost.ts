import { EventEmitter } from 'node:events';
import type { TaskHost } from '@sluice/protocol/client/workLoop.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { AgentTask, type AgentTaskDependencies, type AgentTaskOptions } from './agentTask.ts';
import { deleteVersions } from './deletion.ts';
import { DiskUse } from './diskUse.ts';
import type { Orphans } from './orphans.ts';

export type AgentHostOptions = Omit<AgentTaskOptions, 'task'>;
export type AgentHostDependencies = Omit<
  AgentTaskDependencies,
  'onChange' | 'diskUse' | 'news' | 'orphans'
> & { readonly orphans: Pick<Orphans, 'list' | 'synced'> };

/** An agent's tasks. Files of a node are deleted on a tombstone and for no other reason. */
export class AgentHost implements TaskHost {
  readonly #options: AgentHostOptions;
  readonly #dependencies: AgentHostDependencies;
  readonly #diskUse = new DiskUse();
  readonly #news = new EventEmitter<{ placed: [] }>().setMaxListeners(0);

  constructor(options: AgentHostOptions, dependencies: AgentHostDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  create(task: Task, onChange: () => void): AgentTask {
    const own = { diskUse: this.#diskUse, news: this.#news, onChange };
    return new AgentTask({ ...this.#options, task }, { ...this.#dependencies, ...own });
  }

  deleteFiles(uid: string, epoch: number | undefined): Promise<number[]> {
    return deleteVersions(this.#options.root, uid, epoch);
  }

  /** What the control server does not name stays on the disk. */
  synced(_epochs: ReadonlySet<string>, resting: readonly string[]): Promise<void> {
    return this.#dependencies.orphans.synced(resting);
  }
}
