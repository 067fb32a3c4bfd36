/**
 * What kubelets say of their nodes while nothing changes: each its node's status now and then. The
 * Leases that they renew more often nobody here watches, so nobody writes them: at 10,000 nodes the
 * API server alone would take the processors.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeClient } from '@sluice/operator/kube/client.ts';
import { objectPath, resources } from '@sluice/operator/kube/paths.ts';
import { conditionsAt } from './kubernetes.ts';

/** A kubelet's nodeStatusReportFrequency where nobody sets it. */
const EVERY_MS = 300_000;
const AT_ONCE = 8;
/** A prime: whoever is asked for by one distribution does not speak in one second. */
const STRIDE = 7919;

export class Heartbeats {
  readonly #admin: KubeClient;
  readonly #ended = new AbortController();
  #told = 0;
  #failed = 0;
  #workers: Promise<unknown> = Promise.resolve();

  constructor(admin: KubeClient) {
    this.#admin = admin;
  }

  /** Statuses since the start. */
  get counts(): { readonly told: number; readonly failed: number } {
    return { told: this.#told, failed: this.#failed };
  }

  start(nodes: readonly string[]): void {
    const beganMs = performance.now();
    let next = 0;
    const worker = async () => {
      while (!this.#ended.signal.aborted) {
        const at = next++;
        const node = nodes[(at * STRIDE) % nodes.length] ?? '';
        await this.#tell(node, beganMs + (at * EVERY_MS) / nodes.length);
      }
    };
    this.#workers = Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#workers;
  }

  async #tell(name: string, dueMs: number): Promise<void> {
    const { signal } = this.#ended;
    try {
      await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal });
      await this.#admin.request({
        method: 'PATCH',
        path: `${objectPath(resources.nodes, { name })}/status`,
        contentType: 'application/merge-patch+json',
        body: { status: { conditions: conditionsAt(new Date()) } },
        signal,
      });
      this.#told += 1;
    } catch {
      // As a kubelet does it: the next time is in five minutes.
      if (!signal.aborted) this.#failed += 1;
    }
  }
}
