/** The agents of a cluster that is only written down, in few processes, as a benchmark sees them. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { OPERATOR_HOST } from '../namespaces.ts';
import { processorSeconds } from '../processes.ts';
import type {
  ScaleAgentsCounts,
  ScaleAgentsMessage,
  ScaleAgentsOptions,
} from '../programs/scaleAgents.ts';
import type { NodePod } from './kubernetes.ts';

const PROGRAM = path.join(import.meta.dirname, '../programs/scaleAgents.ts');
const AGENT_PROCESSES = Math.max(2, availableParallelism());

const NOTHING: ScaleAgentsCounts = {
  tasks: 0,
  ready: 0,
  redirected: 0,
  refused: 0,
  connections: 0,
  unreachable: 0,
};

export class ScaleAgents {
  readonly firstTaskMs = new Map<string, number>();
  /** By node, when its newest work stream opened, in milliseconds since the Unix epoch. */
  readonly openedMs = new Map<string, number>();
  readonly #counts = new Map<ChildProcess, ScaleAgentsCounts>();

  get ready(): number {
    return this.counts.ready;
  }

  /** Of all processes, as of half a second ago at most. */
  get counts(): ScaleAgentsCounts {
    const sum = { ...NOTHING };
    for (const counts of this.#counts.values()) {
      for (const name of Object.keys(sum) as (keyof ScaleAgentsCounts)[]) sum[name] += counts[name];
    }
    return sum;
  }

  get processorSeconds(): number {
    return [...this.#counts.keys()].reduce((sum, { pid }) => sum + processorSeconds(pid), 0);
  }

  async start(
    pods: readonly NodePod[],
    options: Pick<ScaleAgentsOptions, 'folder' | 'caFile' | 'transferMs'>,
  ): Promise<void> {
    const controlUrl = `https://${OPERATOR_HOST}:8443`;
    for (let at = 0; at < AGENT_PROCESSES; at += 1) {
      const child = fork(PROGRAM, { execArgv: ['--max-old-space-size=6144'] });
      this.#counts.set(child, NOTHING);
      child.on('message', (message: ScaleAgentsMessage) => this.#heard(child, message));
      await once(child, 'spawn');
      const agents = pods.filter((_, index) => index % AGENT_PROCESSES === at);
      child.send({ ...options, controlUrl, agents } satisfies ScaleAgentsOptions);
    }
  }

  stop(): void {
    for (const child of this.#counts.keys()) child.kill('SIGKILL');
  }

  #heard(child: ChildProcess, message: ScaleAgentsMessage): void {
    switch (message.type) {
      case 'counts': {
        const { type: _type, ...counts } = message;
        this.#counts.set(child, counts);
        return;
      }
      case 'opened':
        for (const node of message.nodes) this.openedMs.set(node, message.atMs);
        return;
      case 'task': {
        const { name, atMs } = message;
        this.firstTaskMs.set(name, Math.min(atMs, this.firstTaskMs.get(name) ?? atMs));
      }
    }
  }
}
