import type { TaskHost } from '@sluice/protocol/client/workLoop.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { AgentTask, type AgentTaskDependencies, type AgentTaskOptions } from './agentTask.ts';
import { deleteVersions } from './deletion.ts';

export type AgentHostOptions = Omit<AgentTaskOptions, 'task'>;

/** An agent's tasks. Files of a node are deleted on a tombstone and for no other reason. */
export class AgentHost implements TaskHost {
  readonly #options: AgentHostOptions;
  readonly #dependencies: Omit<AgentTaskDependencies, 'onChange'>;

  constructor(options: AgentHostOptions, dependencies: Omit<AgentTaskDependencies, 'onChange'>) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  create(task: Task, onChange: () => void): AgentTask {
    return new AgentTask({ ...this.#options, task }, { ...this.#dependencies, onChange });
  }

  deleteFiles(uid: string, epoch: number | undefined): Promise<number[]> {
    return deleteVersions(this.#options.root, uid, epoch);
  }

  /** What the control server does not name stays on the disk. */
  async synced(): Promise<void> {}
}
