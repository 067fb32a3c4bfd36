/**
 * Labels the nodes that show the files of a distribution, for the affinity of pods. One write a
 * node takes all that has to change there; writes are paced, whatever the number of nodes.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import type { NodeObject } from '../../kube/objects.ts';
import { objectPath, resources } from '../../kube/paths.ts';
import type { Reflector } from '../../kube/reflector.ts';
import { WorkQueue } from '../../kube/workQueue.ts';
import type { DistributionCondition } from '../../policies/distributionConditions.ts';
import {
  isDistributionLabel,
  type LabelWish,
  labelChange,
  labelChanges,
  labelCondition,
  labelWish,
} from '../../policies/nodeLabels.ts';
import type { DistributionProgress } from '../dataSide.ts';
import { labelKey, labelledBy } from './labelKey.ts';

export interface NodeLabelControllerDependencies {
  readonly client: KubeClient;
  readonly nodes: Pick<Reflector<NodeObject>, 'get' | 'list'>;
  readonly distributions: Pick<Reflector<Distribution>, 'get' | 'indexed'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** At most 50 writes a second: 10,000 nodes take over three minutes, and nobody else notices. */
const PACE_MS = 20;
/** What nobody asked about, such as labels of distributions that are gone, is looked for so often. */
const SWEEP_MS = 60_000;
/** Others have their turn after so many nodes: with a thousand labels on each they take 50 ms. */
const NODES_AT_ONCE = 20;
const SWEEP = '';

export class NodeLabelController {
  readonly #deps: NodeLabelControllerDependencies;
  readonly #queue: WorkQueue;
  /** By key. */
  readonly #wishes = new Map<string, LabelWish>();
  /** Key of each distribution that was spoken of, with or without labels. */
  readonly #keys = new Map<string, string>();
  /** As answered to a write, until the copy is as new. */
  readonly #written = new Map<string, NodeObject>();
  #listener: (uid: string) => void = () => {};

  constructor(dependencies: NodeLabelControllerDependencies) {
    this.#deps = dependencies;
    const { clock, random, logger } = dependencies;
    this.#queue = new WorkQueue(
      { concurrency: 1 },
      {
        clock,
        random,
        work: (name, signal) => (name === SWEEP ? this.#sweep(signal) : this.#write(name, signal)),
        onError: (node, error, retryAfterMs) =>
          logger.warn('node will be labelled again', { node, error, retryAfterMs }),
      },
    );
  }

  start(): void {
    this.#queue.start();
  }

  /** Every distribution was spoken of: what labels nodes have besides may be looked at. */
  primed(): void {
    this.#queue.add(SWEEP);
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
  }

  onChange(listener: (uid: string) => void): void {
    this.#listener = listener;
  }

  /** As the Distribution and its nodes are now. */
  want({ metadata, spec }: Distribution, progress: DistributionProgress | undefined): void {
    const key = labelKey(metadata);
    const isNew = !this.#keys.has(metadata.uid);
    this.#keys.set(metadata.uid, key);
    if (!spec.target.nodeLabel) {
      if (this.#wishes.delete(key) || isNew) this.#wake((labels) => labels[key] !== undefined);
      return;
    }
    if (progress === undefined) return;
    const wish = labelWish(key, progress.epoch, progress.nodes);
    this.#wishes.set(key, wish);
    this.#wake((labels, name) => labelChange(wish, name, labels[key]) !== undefined);
  }

  release(uid: string): void {
    const key = this.#keys.get(uid);
    if (key === undefined) return;
    this.#keys.delete(uid);
    this.#wishes.delete(key);
    this.#wake((labels) => labels[key] !== undefined);
  }

  condition({ metadata, spec }: Distribution): DistributionCondition<'NodesLabelled'> | undefined {
    if (!spec.target.nodeLabel) return undefined;
    const key = labelKey(metadata);
    const wish = this.#wishes.get(key);
    if (wish === undefined) return undefined;
    let open = 0;
    for (const node of this.#deps.nodes.list()) {
      const { name } = node.metadata;
      if (labelChange(wish, name, this.#labelsOf(node)[key]) !== undefined) open += 1;
    }
    return labelCondition(key, open);
  }

  /** A stranger's edit of a label is set right; the rest of a node is nobody's business here. */
  nodeChanged(current: NodeObject | undefined, previous: NodeObject | undefined): void {
    const name = (current ?? previous)!.metadata.name;
    const written = this.#written.get(name);
    if (written !== undefined && (current === undefined || !isNewer(written, current))) {
      this.#written.delete(name);
    }
    if (ownText(current?.metadata.labels) === ownText(previous?.metadata.labels)) return;
    if (current !== undefined) this.#queue.add(name);
    for (const [uid, key] of this.#keys) {
      if (current?.metadata.labels?.[key] !== previous?.metadata.labels?.[key]) this.#listener(uid);
    }
  }

  #wake(concerns: (labels: Readonly<Record<string, string>>, name: string) => boolean): void {
    for (const node of this.#deps.nodes.list()) {
      if (concerns(this.#labelsOf(node), node.metadata.name)) this.#queue.add(node.metadata.name);
    }
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    let looks = 0;
    for (const node of [...this.#deps.nodes.list()]) {
      if (Object.keys(this.#changesOf(node)).length > 0) this.#queue.add(node.metadata.name);
      looks += 1;
      if (looks % NODES_AT_ONCE === 0) await sleep(this.#deps.clock, 0, signal);
    }
    this.#queue.addAfter(SWEEP, SWEEP_MS);
  }

  async #write(name: string, signal: AbortSignal): Promise<void> {
    const node = this.#deps.nodes.get(name);
    if (node === undefined) return;
    const labels = this.#changesOf(node);
    if (Object.keys(labels).length === 0) return;
    try {
      const written = await this.#deps.client.request<NodeObject>({
        method: 'PATCH',
        path: objectPath(resources.nodes, { name }),
        contentType: 'application/merge-patch+json',
        body: { metadata: { labels } },
        signal,
      });
      this.#written.set(name, written);
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error;
    }
    await sleep(this.#deps.clock, PACE_MS, signal);
  }

  #changesOf(node: NodeObject): Record<string, string | null> {
    const { name } = node.metadata;
    return labelChanges(name, this.#labelsOf(node), this.#wishes, (key) => this.#isOrphan(key));
  }

  /** The copy may be older than what was written last. */
  #labelsOf(copy: NodeObject): Readonly<Record<string, string>> {
    const written = this.#written.get(copy.metadata.name);
    const newest = written !== undefined && isNewer(written, copy) ? written : copy;
    return newest.metadata.labels ?? {};
  }

  /** Of a distribution that exists and was not spoken of yet nobody knows what it wants. */
  #isOrphan(key: string): boolean {
    const distribution = labelledBy(key, this.#deps.distributions);
    if (distribution === undefined) return true;
    const { metadata, spec } = distribution;
    if (metadata.deletionTimestamp !== undefined) return true;
    return this.#keys.has(metadata.uid) && !spec.target.nodeLabel;
  }
}

/** Versions of one resource are whole numbers that grow (KEP-5504). */
function isNewer(a: NodeObject, b: NodeObject): boolean {
  if (a.metadata.uid !== b.metadata.uid) return false;
  return BigInt(a.metadata.resourceVersion) > BigInt(b.metadata.resourceVersion);
}

function ownText(labels: Readonly<Record<string, string>> | undefined): string {
  const own = Object.entries(labels ?? {}).filter(([key]) => isDistributionLabel(key));
  return JSON.stringify(own.sort(([a], [b]) => (a < b ? -1 : 1)));
}
