/** A data side in memory: keeps what the controllers say, reports what a test says. */
import type {
  Coordinator,
  DistributionPlan,
  DistributionProgress,
  EpochRecord,
  EpochStore,
  NodeProgress,
  OriginPolicy,
  OriginRefusal,
  OriginUsage,
  RefusableSource,
  ResolvedSource,
} from '../controllers/dataSide.ts';
import { originRefusal } from '../policies/originRefusal.ts';
import { aProgress, aUsage, troubles } from './objects.ts';

export class FakeDataSide implements Coordinator, EpochStore {
  readonly plans = new Map<string, DistributionPlan>();
  readonly records = new Map<string, EpochRecord>();
  /** By uid: whether the files are to be deleted. */
  readonly tombstones = new Map<string, boolean>();
  /** The uids that were known when everything had been said. */
  primedWith: readonly string[] | undefined;
  policies: readonly OriginPolicy[] = [];
  source: () => ResolvedSource = FakeDataSide.source;
  readonly troubles = troubles();
  readonly #confirmed = new Set<string>();
  readonly #progress = new Map<string, DistributionProgress>();
  #listener: (uid: string) => void = () => {};

  static source(): ResolvedSource {
    return { sizeBytes: 1000, validator: { etag: '"v1"' }, ranges: true };
  }

  report(
    uid: string,
    nodes: readonly NodeProgress[],
    overrides: Partial<DistributionProgress> = {},
  ): void {
    const epoch = this.plans.get(uid)?.record.epoch ?? 0;
    this.#progress.set(uid, aProgress(nodes, { epoch, ...overrides }));
    this.#listener(uid);
  }

  confirm(uid: string): void {
    this.#confirmed.add(uid);
    this.#listener(uid);
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.policies = policies;
  }

  apply(plan: DistributionPlan): void {
    const { uid, epoch } = plan.record;
    if (this.records.get(uid)?.epoch !== epoch) throw new Error('told before it was kept');
    this.plans.set(uid, plan);
  }

  primed(): void {
    this.primedWith = [...this.plans.keys()];
  }

  remove(uid: string, { deleteFiles }: { readonly deleteFiles: boolean }): void {
    this.plans.delete(uid);
    this.tombstones.set(uid, deleteFiles);
  }

  removed(uid: string): boolean {
    return this.#confirmed.has(uid);
  }

  progress(uid: string): DistributionProgress | undefined {
    return this.#progress.get(uid);
  }

  async resolveSource(): Promise<ResolvedSource> {
    return this.source();
  }

  onChange(listener: (uid: string) => void): void {
    this.#listener = listener;
  }

  originUsage(name: string): OriginUsage {
    const { limits } = aUsage();
    const allowed = this.policies.find((policy) => policy.name === name)?.limits.maxConnections;
    return aUsage({
      connections: 1,
      rateBytesPerSecond: 1000,
      trafficBytes: 5000,
      limits: { ...limits, connections: allowed ?? limits.connections },
    });
  }

  refusalOf({ url, namespace }: RefusableSource): OriginRefusal | undefined {
    return originRefusal(url, [], namespace, this.policies);
  }

  nameOf(uid: string): string | undefined {
    const record = this.records.get(uid);
    return record && `${record.namespace}/${record.name}`;
  }

  async load(uid: string): Promise<EpochRecord | undefined> {
    return this.records.get(uid);
  }

  async save(record: EpochRecord): Promise<void> {
    this.records.set(record.uid, record);
  }

  async delete(uid: string): Promise<void> {
    this.records.delete(uid);
  }

  async uids(): Promise<string[]> {
    return [...this.records.keys()];
  }
}
