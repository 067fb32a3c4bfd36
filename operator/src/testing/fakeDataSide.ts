/** A data side in memory: keeps what the controllers say, reports what a test says. */
import type {
  Coordinator,
  DistributionPlan,
  DistributionProgress,
  EpochRecord,
  EpochStore,
  Grave,
  NodeProgress,
  OriginPolicy,
  OriginRefusal,
  OriginUsage,
  Plot,
  RefusableSource,
  ResolvedSource,
  SourceRequest,
} from '../controllers/dataSide.ts';
import { originRefusal } from '../policies/originRefusal.ts';
import type { JournalMark, OriginJournals } from '../quota/marks.ts';
import { aProgress, aUsage, troubles } from './objects.ts';

export class FakeDataSide implements Coordinator, EpochStore {
  readonly plans = new Map<string, DistributionPlan>();
  readonly records = new Map<string, EpochRecord>();
  /** Where files of deleted Distributions are, by uid. */
  readonly plots = new Map<string, Plot>();
  /** By uid: whether the files are to be deleted. */
  readonly tombstones = new Map<string, boolean>();
  /** The uids that were known when everything had been said. */
  primedWith: readonly string[] | undefined;
  policies: readonly OriginPolicy[] = [];
  /** What is said of each Origin's use, besides what it allows. */
  usage: Partial<OriginUsage> = {
    connections: 1,
    rateBytesPerSecond: 1000,
    trafficBytes: 5000,
  };
  journals: OriginJournals | undefined;
  /** What the controller says that the status says. */
  readonly marked: JournalMark[] = [];
  originChanged: (name: string) => void = () => {};
  nodes: ReadonlySet<string> = new Set();
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

  setNodes(names: ReadonlySet<string>): void {
    this.nodes = names;
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

  async resolveSource(_request: SourceRequest, _signal: AbortSignal): Promise<ResolvedSource> {
    return this.source();
  }

  onChange(listener: (uid: string) => void): void {
    this.#listener = listener;
  }

  originUsage(name: string): OriginUsage {
    const { limits } = aUsage();
    const allowed = this.policies.find((policy) => policy.name === name)?.limits.maxConnections;
    return aUsage({
      ...this.usage,
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

  missing(uid: string): readonly string[] | undefined {
    return this.#confirmed.has(uid) ? [] : undefined;
  }

  originJournals(): OriginJournals | undefined {
    return this.journals;
  }

  originMarked(marks: readonly JournalMark[]): void {
    this.marked.push(...marks);
  }

  onOriginChange(listener: (name: string) => void): void {
    this.originChanged = listener;
  }

  async load(owner: string): Promise<EpochRecord | undefined> {
    return [...this.records.values()].find(
      (record) => (record.owner ?? record.uid) === owner && !this.plots.has(record.uid),
    );
  }

  async save(record: EpochRecord): Promise<void> {
    this.records.set(record.uid, record);
  }

  async saveMirrors(
    uid: string,
    epoch: number,
    mirrors: Pick<EpochRecord, 'mirrors' | 'droppedMirrors'>,
  ): Promise<void> {
    const record = this.records.get(uid);
    if (record?.epoch === epoch) this.records.set(uid, { ...record, ...mirrors });
  }

  async saveCompleted(uid: string, epoch: number, completedAt: string): Promise<void> {
    const record = this.records.get(uid);
    if (record?.epoch === epoch) this.records.set(uid, { ...record, completedAt });
  }

  async delete(uid: string): Promise<void> {
    this.records.delete(uid);
    this.plots.delete(uid);
  }

  async living(): Promise<{ uid: string; owner: string }[]> {
    const records = [...this.records.values()].filter(({ uid }) => !this.plots.has(uid));
    return records.map(({ uid, owner = uid }) => ({ uid, owner }));
  }

  async bury(uid: string, plot: Plot): Promise<void> {
    if (!this.plots.has(uid)) this.plots.set(uid, plot);
  }

  async graves(): Promise<Grave[]> {
    return [...this.plots].flatMap(([uid, plot]) => {
      const record = this.records.get(uid);
      if (record === undefined) return [];
      return [{ uid, owner: record.owner ?? uid, namespace: record.namespace, ...plot }];
    });
  }

  async adopt(
    uid: string,
    heir: { readonly owner: string; readonly name: string },
  ): Promise<EpochRecord | undefined> {
    const record = this.records.get(uid);
    if (record?.owner === heir.owner && !this.plots.has(uid)) return record;
    if (record === undefined || this.plots.get(uid)?.condemned !== false) return undefined;
    const { completedAt, ...rest } = record;
    const adopted = { ...rest, ...heir, unproven: true } as const;
    this.plots.delete(uid);
    this.records.set(uid, adopted);
    return adopted;
  }

  async condemn(uid: string, dueAtMs: number): Promise<boolean> {
    const plot = this.plots.get(uid);
    if (plot !== undefined) this.plots.set(uid, { ...plot, condemned: true, dueAtMs });
    return plot !== undefined;
  }
}
