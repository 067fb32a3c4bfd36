/**
 * Every status that a Distribution has while it is watched, in their order: one that is looked at
 * now and then may have had another one in between.
 */
import type { Cluster } from '../cluster/cluster.ts';
import type { DistributionObject } from './sluice.ts';

type Status = NonNullable<DistributionObject['status']>;

const WATCH_TIMEOUT_MS = 10 * 60_000;

export class StatusWatch {
  readonly #lines: string[] = [];
  readonly #abort = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  readonly #watching: Promise<unknown>;
  #problem: unknown;

  private constructor(cluster: Cluster, name: string) {
    const args = ['get', 'distribution', name, '-n', 'default', '--watch', '-o'];
    this.#watching = cluster
      .kubectl([...args, 'jsonpath={.status}{"\\n"}'], {
        timeoutMs: WATCH_TIMEOUT_MS,
        signal: this.#abort.signal,
        onLine: (line) => {
          this.#lines.push(line);
          this.#first.resolve();
        },
      })
      .then(() => {
        throw new Error(`the watch of ${name} has ended by itself`);
      })
      .catch((error: unknown) => {
        if (this.#abort.signal.aborted) return;
        this.#problem = error;
        this.#first.reject(error);
      });
  }

  /** Resolves when it sees the status of now. */
  static async begin(cluster: Cluster, name: string): Promise<StatusWatch> {
    const watch = new StatusWatch(cluster, name);
    try {
      await watch.#first.promise;
    } catch (error) {
      await watch.close();
      throw error;
    }
    return watch;
  }

  /** All of them; throws when something may have been missed. */
  async end(): Promise<Status[]> {
    const problem = this.#problem;
    await this.close();
    if (problem !== undefined) throw problem;
    return this.#lines.map((line) => JSON.parse(line) as Status);
  }

  /** Whatever it has seen or missed. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#watching;
  }
}
