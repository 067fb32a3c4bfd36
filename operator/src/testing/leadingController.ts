/** A leader's DistributionController on a fake clock, with the cluster that it sees. */
import type { Distribution, DistributionStatus } from '../api/v1alpha1/distribution.ts';
import type { SourceRequest } from '../controllers/dataSide.ts';
import type { DistributionApi } from '../controllers/distribution/api.ts';
import { DistributionController } from '../controllers/distribution/controller.ts';
import { keyOf } from '../kube/reflector.ts';
import type { RelayDemand } from '../policies/relays.ts';
import { controllerDependencies } from './controllerDependencies.ts';
import { FakeClock, settle } from './fakeClock.ts';
import { FakeDataSide } from './fakeDataSide.ts';
import { noWorkloads } from './noWorkloads.ts';
import { aSpec } from './objects.ts';

type Spec = Parameters<typeof aSpec>[0];

/** Distributions are of the namespace `ml`, and have `uid-NAME`. */
export class LeadingController {
  readonly clock = new FakeClock();
  readonly data = new FakeDataSide();
  readonly objects = new Map<string, Distribution>();
  readonly statuses = new Map<string, DistributionStatus>();
  /** Names of Distributions whose claims and labels are wanted. */
  readonly wanted = new Set<string>();
  /** What relays are asked for, by uid. */
  readonly demands = new Map<string, RelayDemand>();
  /** Hosts that take questions and give no answer. */
  readonly silent = new Set<string>();
  /** What waits for them; it ends when it is given up, or here. */
  readonly unanswered = new Map<SourceRequest, () => void>();
  readCredentials: DistributionApi['readCredentials'] = async () => ({});
  #controller: DistributionController;
  readonly #nodes: readonly string[];

  constructor(nodes: readonly string[]) {
    this.#nodes = nodes;
    const { data } = this;
    const answer = data.resolveSource.bind(data);
    data.resolveSource = (...[request, signal]: Parameters<typeof data.resolveSource>) =>
      this.silent.has(new URL(request.url).host)
        ? this.#wait(request, signal).then(() => FakeDataSide.source())
        : answer(request, signal);
    this.#controller = this.#newController();
  }

  start(): Promise<void> {
    return this.#controller.start();
  }

  stop(): Promise<void> {
    return this.#controller.stop();
  }

  /** Another replica leads: it knows what is in the store and in the cluster. */
  async next(): Promise<void> {
    await this.stop();
    this.data.plans.clear();
    this.data.primedWith = undefined;
    this.#controller = this.#newController();
    await this.start();
  }

  /** What the watch brings of it. */
  apply(name: string, spec: Spec, more: Partial<Distribution['metadata']> = {}): void {
    const before = this.objects.get(`ml/${name}`);
    const generation = (before?.metadata.generation ?? 0) + 1;
    const metadata = {
      name,
      namespace: 'ml',
      uid: `uid-${name}`,
      resourceVersion: String(generation),
      generation,
      creationTimestamp: '2026-01-01T00:00:00Z',
      finalizers: ['sluice.dev/distribution'],
      ...more,
    };
    const object = { metadata, spec: aSpec(spec), status: before?.status } as Distribution;
    this.objects.set(keyOf(object), object);
    this.#controller.changed(object, before);
  }

  delete(name: string): void {
    const { spec } = this.objects.get(`ml/${name}`)!;
    this.apply(name, spec, { deletionTimestamp: '2026-01-02T00:00:00Z' });
  }

  /** An Origin was edited. */
  wakeAll(): void {
    this.#controller.wakeAll();
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1_000) {
      await this.clock.advance(Math.min(left, 1_000));
      await settle();
    }
  }

  condition(name: string, type: string): string | undefined {
    const found = this.statuses.get(name)?.conditions?.find((each) => each.type === type);
    return found && `${found.status}/${found.reason}`;
  }

  #wait(request: SourceRequest, signal: AbortSignal): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.unanswered.set(request, resolve);
      signal.addEventListener('abort', () => reject(signal.reason));
    }).finally(() => this.unanswered.delete(request));
  }

  #newController(): DistributionController {
    const { clock, data, objects, statuses } = this;
    const nodes = this.#nodes.map((name) => ({ metadata: { name, uid: `uid-of-${name}` } }));
    const change = {
      nodes: {
        list: () => nodes,
        get: (name: string) => nodes.find(({ metadata }) => metadata.name === name),
      },
      api: {
        ensureFinalizer: async () => undefined,
        readAnew: async ({ metadata }: Distribution) => objects.get(`ml/${metadata.name}`),
        dropFinalizer: async ({ metadata }: Distribution) => {
          const key = `ml/${metadata.name}`;
          const before = objects.get(key);
          objects.delete(key);
          this.#controller.changed(undefined, before);
        },
        writeStatus: async (
          distribution: Distribution,
          { status }: { status: DistributionStatus },
        ) => {
          const key = keyOf(distribution);
          const object = objects.get(key);
          statuses.set(distribution.metadata.name, status);
          if (object !== undefined) objects.set(key, { ...object, status });
          return distribution;
        },
        readCredentials: (...request: Parameters<DistributionApi['readCredentials']>) =>
          this.readCredentials(...request),
      },
      fleet: {
        setDemand: (uid: string, demand: RelayDemand | undefined) => {
          if (demand === undefined) this.demands.delete(uid);
          else this.demands.set(uid, demand);
        },
        relayStates: () => [],
        onChange: () => {},
      },
      workloads: {
        ...noWorkloads,
        want: ({ metadata }: Distribution) => this.wanted.add(metadata.name),
      },
    };
    return new DistributionController(controllerDependencies({ clock, data, objects }, change));
  }
}
