/** What users see of Distributions while one leader follows another: the real Coordinator under them. */
import { describe, expect, it } from 'vitest';
import type { Distribution, DistributionStatus } from '../api/v1alpha1/distribution.ts';
import { DistributionController } from '../controllers/distribution/controller.ts';
import type { NodeObject } from '../kube/objects.ts';
import { keyOf } from '../kube/reflector.ts';
import { type RelayDemand, relayAsks } from '../policies/relays.ts';
import type { AssignmentShard, AssignmentStore } from '../store/assignments.ts';
import { controllerDependencies } from '../testing/controllerDependencies.ts';
import { settle } from '../testing/fakeClock.ts';
import { FakeDataSide } from '../testing/fakeDataSide.ts';
import { noRows } from '../testing/noRows.ts';
import { aSpec, aTransferReport } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';

const NAMES = ['n1', 'n2', 'n3'];
const UID = 'uid-llama';
const KEY = 'ml/llama';

/** What outlives a leader. */
class Cluster {
  readonly epochs = new FakeDataSide();
  readonly shards = new Map<string, AssignmentShard>();
  readonly objects = new Map<string, Distribution>();
  /** In their order, since it was asked last. */
  statuses: DistributionStatus[] = [];
  events: string[] = [];
  /** Of relays, at each word about them: what domains have waiting nodes. */
  needs: number[] = [];
  /** Rows are read when it is called. */
  answer: (() => void) | undefined;
  /** So often the database does not give them. */
  failures = 0;
  /** How often it was asked. */
  reads = 0;
  readonly nodes = NAMES.map(
    (name) => ({ metadata: { name, uid: `uid-of-${name}`, labels: {} } }) as unknown as NodeObject,
  );

  constructor(spec: Parameters<typeof aSpec>[0] = {}) {
    const metadata = {
      name: 'llama',
      namespace: 'ml',
      uid: UID,
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: '2026-01-01T00:00:00Z',
      finalizers: ['sluice.dev/distribution'],
    };
    this.objects.set(KEY, { metadata, spec: aSpec(spec) } as unknown as Distribution);
  }

  get assignments(): AssignmentStore {
    return {
      load: async (uid) => {
        if (this.answer !== undefined) {
          const { promise, resolve } = Promise.withResolvers<void>();
          this.answer = resolve;
          await promise;
        }
        this.reads += 1;
        if (this.failures > 0) {
          this.failures -= 1;
          throw new Error('timed out');
        }
        return [...this.shards.values()].filter((shard) => shard.uid === uid);
      },
      save: async (shard) => {
        this.shards.set(`${shard.uid}/${shard.number}`, structuredClone(shard));
      },
      delete: async () => {},
    };
  }

  get status(): DistributionStatus | undefined {
    return this.objects.get(KEY)?.status;
  }

  forgetWhatWasSeen(): void {
    this.statuses = [];
    this.events = [];
    this.needs = [];
  }
}

class Leader {
  readonly test: TestCoordinator;
  readonly controller: DistributionController;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.test = new TestCoordinator({ ...noRows, assignments: cluster.assignments });
    const { clock, coordinator } = this.test;
    const { epochs: data, nodes, objects } = cluster;
    const change = {
      nodes: { list: () => nodes, get: () => nodes[0] },
      api: {
        ensureFinalizer: async () => undefined,
        readAnew: async () => objects.get(KEY),
        writeStatus: async (
          distribution: Distribution,
          { status }: { status: DistributionStatus },
        ) => {
          const { metadata } = distribution;
          const resourceVersion = String(Number(metadata.resourceVersion) + 1);
          const written = { ...distribution, metadata: { ...metadata, resourceVersion }, status };
          objects.set(keyOf(distribution), written);
          cluster.statuses.push(status);
          return written;
        },
        readCredentials: async () => ({}),
      },
      coordinator,
      fleet: {
        setDemand: (_uid: string, demand: RelayDemand | undefined) =>
          cluster.needs.push(relayAsks(demand === undefined ? [] : [demand]).length),
        relayStates: () => [],
        onChange: () => {},
      },
      events: {
        record: (_subject: object, { reason }: { reason: string }) => cluster.events.push(reason),
      },
    };
    this.controller = new DistributionController(
      controllerDependencies({ clock, data, objects }, change),
    );
  }

  async start(): Promise<this> {
    await this.test.start();
    Object.assign(this.test.coordinator, {
      resolveSource: async () => FakeDataSide.source(),
    });
    await this.controller.start();
    await settle();
    return this;
  }

  async stop(): Promise<void> {
    await this.controller.stop();
    await this.test.coordinator.flush();
    this.test.stop();
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 100) await this.test.clock.advance(100);
  }

  /** All agents say that they have it. */
  async deliver(): Promise<void> {
    const { coordinator, clock } = this.test;
    for (const name of NAMES) {
      const agent = this.test.connect('agent', name);
      const transfers = [aTransferReport({ uid: UID, state: 'ready', verifiedBytes: 1000 })];
      coordinator.fleet.report(agent, { incarnation: name, sequence: 1, transfers }, clock.now());
    }
    await this.pass(3_000);
  }

  /** What the watch brings. */
  async edit(change: (object: Distribution) => Distribution): Promise<void> {
    const before = this.#cluster.objects.get(KEY) as Distribution;
    const edited = change(before);
    this.#cluster.objects.set(KEY, edited);
    this.controller.changed(edited, before);
    await this.pass(3_000);
  }
}

function suspended({ metadata, spec, ...more }: Distribution): Distribution {
  const { resourceVersion, generation = 0 } = metadata;
  const version = { resourceVersion: String(Number(resourceVersion) + 1) };
  return {
    ...more,
    metadata: { ...metadata, ...version, generation: generation + 1 },
    spec: { ...spec, suspend: true },
  } as Distribution;
}

async function delivered(): Promise<{ readonly cluster: Cluster; readonly first: Leader }> {
  const cluster = new Cluster();
  const first = await new Leader(cluster).start();
  await first.pass(2_000);
  await first.deliver();
  expect(cluster.status?.summary?.nodes).toBe('3/3');
  return { cluster, first };
}

it.each([
  ['what is delivered', false],
  ['what is delivered and suspended', true],
])(
  '%s stays as it was when another one leads: status, events and relays',
  async (_what, isSuspended) => {
    const { cluster, first } = await delivered();
    if (isSuspended) await first.edit(suspended);
    const before = cluster.status;
    expect(before?.conditions?.[0]).toMatchObject({ type: 'Ready', status: 'True' });
    await first.stop();
    cluster.forgetWhatWasSeen();

    cluster.answer = () => {};
    const next = await new Leader(cluster).start();
    await next.pass(2_000);
    cluster.answer();
    cluster.answer = undefined;
    await next.pass(2_000);
    await next.deliver();
    expect(cluster.statuses).toEqual([]);
    expect(cluster.events).toEqual([]);
    expect(Math.max(...cluster.needs), 'relays').toBe(0);
    expect(cluster.status?.completionTime).toBe(before?.completionTime);
    // And it is not that nobody looks: what changes is told.
    cluster.nodes.push({ metadata: { name: 'n4', uid: 'uid-of-n4', labels: {} } } as never);
    next.controller.nodeChanged(cluster.nodes.at(-1), undefined);
    await next.pass(3_000);
    expect(cluster.status?.summary?.nodes).toBe('3/4');
    await next.stop();
  },
);

it('is complete for good: nodes that join later end no epoch, under the next leader either', async () => {
  const { cluster, first } = await delivered();
  const completedAt = cluster.epochs.records.get(UID)?.completedAt;
  expect(completedAt).toBe(cluster.status?.completionTime);
  await first.stop();

  const next = await new Leader(cluster).start();
  await next.pass(2_000);
  cluster.nodes.push({ metadata: { name: 'n4', uid: 'uid-of-n4', labels: {} } } as never);
  next.controller.nodeChanged(cluster.nodes.at(-1), undefined);
  await next.pass(2_000);
  const { coordinator, clock } = next.test;
  const relay = next.test.connect('relay', 'r', 'default');
  const error = { reason: 'SourceChanged', message: 'another ETag' };
  const transfers = [aTransferReport({ uid: UID, error })];
  coordinator.fleet.report(relay, { incarnation: 'r', sequence: 1, transfers }, clock.now());
  await next.pass(10_000);
  expect(coordinator.progress(UID)?.sourceChanged).toBe(true);
  expect(cluster.status).toMatchObject({ epoch: { number: 1 }, summary: { nodes: '3/4' } });
  expect(cluster.epochs.records.get(UID)).toMatchObject({ epoch: 1, completedAt });
  await next.stop();
});

it('tries again to keep that it is complete when the database has not', async () => {
  const cluster = new Cluster();
  const { epochs } = cluster;
  let tries = 0;
  const save = epochs.saveCompleted.bind(epochs);
  epochs.saveCompleted = async (...args) => {
    tries += 1;
    if (tries === 1) throw new Error('away');
    await save(...args);
  };
  const leader = await new Leader(cluster).start();
  await leader.pass(2_000);
  await leader.deliver();
  await leader.pass(10_000);
  expect(epochs.records.get(UID)?.completedAt).toBeDefined();
  expect(tries).toBe(2);
  await leader.stop();
});

it('keeps no relays for nodes that cannot be served now, and has them when they can', async () => {
  const { cluster, first } = await delivered();
  cluster.nodes.push({ metadata: { name: 'n4', uid: 'uid-of-n4', labels: {} } } as never);
  first.controller.nodeChanged(cluster.nodes.at(-1), undefined);
  await first.pass(5_000);
  expect(cluster.status?.summary?.nodes).toBe('3/4');
  expect(cluster.needs.at(-1), 'without an agent').toBe(0);
  const agent = first.test.connect('agent', 'n4');
  const { coordinator, clock } = first.test;
  const say = async (sequence: number, state: 'transferring' | 'failed') => {
    const transfers = [aTransferReport({ uid: UID, state })];
    coordinator.fleet.report(agent, { incarnation: 'n4', sequence, transfers }, clock.now());
    await first.pass(5_000);
  };
  await say(1, 'transferring');
  expect(cluster.needs.at(-1), 'with one').toBe(1);
  await say(2, 'failed');
  expect(cluster.needs.at(-1), 'when it has failed').toBe(0);
  await first.stop();
});

describe('rows that a new leader cannot read', () => {
  it('are read again, and until then nothing is said of nodes', async () => {
    const { cluster, first } = await delivered();
    await first.stop();
    cluster.forgetWhatWasSeen();
    cluster.failures = 2;
    const next = await new Leader(cluster).start();
    expect(next.test.coordinator.progress(UID)?.isUnread).toBe(true);
    await next.pass(5_000);
    expect(next.test.coordinator.progress(UID)).toMatchObject({
      isUnread: false,
      nodes: NAMES.map((name) => ({ name, state: 'ready' })),
    });
    expect(cluster.statuses).toEqual([]);
    expect(cluster.events).toEqual([]);
    expect(Math.max(...cluster.needs), 'relays').toBe(0);
    await next.stop();
  });

  it('hold up nobody for longer than half a minute', async () => {
    const { cluster, first } = await delivered();
    await first.stop();
    cluster.failures = Number.POSITIVE_INFINITY;
    const next = await new Leader(cluster).start();
    await next.pass(29_000);
    expect(next.test.coordinator.progress(UID)?.isUnread).toBe(true);
    await next.pass(2_000);
    expect(next.test.coordinator.progress(UID)?.isUnread).toBe(false);
    await next.stop();
  });

  it('are not read on by one that leads no more', async () => {
    const { cluster, first } = await delivered();
    await first.stop();
    cluster.failures = Number.POSITIVE_INFINITY;
    const next = await new Leader(cluster).start();
    await next.pass(2_000);
    await next.stop();
    const { reads } = cluster;
    await next.pass(5_000);
    expect(cluster.reads).toBe(reads);
  });
});
