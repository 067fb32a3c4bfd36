/**
 * What every scenario shares: the cluster, the origin's meter as the judge of the limits, and a
 * clean table for the next one. On failure the state of everything goes to e2e/results/ before
 * anything is undone.
 */
import path from 'node:path';
import { afterAll, expect, inject, it } from 'vitest';
import { type Cluster, type ClusterNode, runningClusters } from '../cluster/cluster.ts';
import { repositoryRoot } from '../cluster/paths.ts';
import { ReadClient } from '../install/readClient.ts';
import { distributionResource, type OriginLimits } from '../install/resources.ts';
import { conditionOf, NAMESPACE, type Pod, Sluice, sha256OfFile } from '../install/sluice.ts';
import { StatusWatch } from '../install/statusWatch.ts';
import { Undoings } from '../install/undoings.ts';
import type { Behaviour, OriginFile } from '../origin/origin.ts';
import { LIMITS } from './limits.ts';

export const MIB = 1024 * 1024;
/** Of small files, as the operator chooses it. */
export const PIECE = 256 * 1024;
/** Heads of answers, probes of all files, and a piece that may be asked for twice. */
export const OVERHEAD_BYTES = MIB / 2;
const TIMEOUT_MS = 180_000;

export interface Scenario {
  readonly sluice: Sluice;
  readonly cluster: Cluster;
  /** Ends when the scenario has taken too long; what `sluice` waits for ends with it. */
  readonly signal: AbortSignal;
  /**
   * Said before something is done that others are not to find: how it is undone when the scenario
   * is over, however it ends, the last one first. Who calls the answer undoes it at once.
   */
  undo(how: () => Promise<unknown>): () => Promise<void>;
  /** At the origin, with its own bytes, or those of the file whose name is the seed. */
  putFile(name: string, sizeBytes: number, seed?: string): Promise<OriginFile>;
  behave(file: OriginFile, behaviour: Behaviour): Promise<void>;
  /** Applies a Distribution named like the file without its ending; returns its uid. */
  distribute(file: OriginFile, options?: DistributeOptions): Promise<string>;
}

export interface DistributeOptions {
  /** Instead of the file's own; null for none. */
  readonly sha256?: string | null;
  readonly spec?: Readonly<Record<string, unknown>>;
}

let attached: Promise<Sluice> | undefined;

interface ScenarioOptions {
  /** What the origin's meter is judged by, where the scenario's Origin has limits of its own. */
  readonly limits?: OriginLimits;
  /** Nothing is left that could clean up after it. */
  readonly removesSluice?: boolean;
  readonly timeoutMs?: number;
}

export function scenario(
  what: string,
  run: (scenario: Scenario) => Promise<void>,
  { limits = LIMITS, removesSluice = false, timeoutMs = TIMEOUT_MS }: ScenarioOptions = {},
): void {
  it(what, { timeout: timeoutMs }, async ({ signal, onTestFinished }) => {
    const { cluster, read } = await attachedSluice();
    signal.throwIfAborted();
    const sluice = new Sluice(cluster, read, signal);
    const undoings = new Undoings();
    if (!removesSluice) {
      undoings.add(() => cluster.kubectl(['delete', 'distributions', '--all', '-n', 'default']));
    }
    const play = async () => {
      await cluster.origin.reset();
      await run(scenarioOn(sluice, signal, undoings));
      await expectLimitsHeld(sluice, limits);
    };
    const played = play();
    // vitest does not wait for a test that took too long, but for this.
    onTestFinished(async () => {
      const isPlayed = await played.then(
        () => true,
        () => false,
      );
      if (!isPlayed || signal.aborted) {
        await cluster.dumpState(path.join(repositoryRoot, 'e2e/results', slugOf(what)));
      }
      sluice.signal = undefined;
      await undoings.all();
    });
    await played;
  });
}

/** The one that all scenarios share. */
function attachedSluice(): Promise<Sluice> {
  attached ??= attach();
  return attached;
}

function scenarioOn(sluice: Sluice, signal: AbortSignal, undoings: Undoings): Scenario {
  const { origin } = sluice.cluster;
  return {
    sluice,
    cluster: sluice.cluster,
    signal,
    undo: (how) => undoings.add(how),
    async putFile(name, sizeBytes, seed = name) {
      undoings.add(() => origin.behave(`/${name}`, undefined));
      return origin.putFile(name, { sizeBytes, seed });
    },
    behave: (file, behaviour) => origin.behave(`/${file.name}`, behaviour),
    async distribute(file, { sha256 = file.sha256, spec } = {}) {
      const name = nameOf(file);
      const digest = sha256 !== null && { sha256 };
      await sluice.apply(
        distributionResource({ name, url: file.url, ...digest, ...(spec && { spec }) }),
      );
      return (await sluice.distribution(name)).metadata.uid;
    },
  };
}

/** As kubectl edit does it. */
export function edit({ cluster }: Scenario, name: string, spec: object): Promise<string> {
  const args = ['patch', 'distribution', name, '--type=merge', '-p', JSON.stringify({ spec })];
  return cluster.kubectl(args);
}

/** Of the Distribution that brings a file. */
export function nameOf(file: OriginFile): string {
  return path.parse(file.name).name;
}

export async function untilEverywhere(sluice: Sluice, file: OriginFile): Promise<void> {
  await sluice.untilReady(nameOf(file));
  await expectEverywhere(sluice, file);
}

export async function expectEverywhere(sluice: Sluice, file: OriginFile): Promise<void> {
  for (const node of sluice.cluster.nodes) {
    const found = await sha256OfFile(sluice.placed(node, nameOf(file), file.name));
    expect(found, `SHA-256 on ${node.name}`).toBe(file.sha256);
  }
}

/** Until a condition of a Distribution has this reason; answers the condition. */
export function untilReason(
  sluice: Sluice,
  name: string,
  type: string,
  reason: string,
  namespace?: string,
) {
  return sluice.until(`${type} with ${reason}`, async () => {
    const { status } = await sluice.distribution(name, namespace);
    const found = conditionOf(status, type);
    if (found?.reason === reason) return found;
    throw new Error(JSON.stringify(status?.conditions));
  });
}

/** More often than anybody asks in the time of a scenario. */
const REFUSALS = 200;

export function refusing(status: number): Behaviour {
  return { statusSequence: Array(REFUSALS).fill(status) };
}

/** Nobody has begun it anew. */
export async function expectOneEpoch({ sluice }: Scenario, file: OriginFile): Promise<void> {
  const events = await sluice.events(nameOf(file));
  const begun = events.filter(({ reason }) => reason === 'EpochStarted');
  expect(begun, `epochs of ${file.name}`).toHaveLength(1);
}

/** Bytes, by its own meter. */
export async function takenFromOrigin({ cluster }: Scenario): Promise<number> {
  return (await cluster.origin.stats()).bytesTotal;
}

/** Every status that its Distribution has from now on; ends with the scenario at the latest. */
export async function watchStatus(
  { cluster, undo }: Scenario,
  file: OriginFile,
): Promise<StatusWatch> {
  const watch = await StatusWatch.begin(cluster, nameOf(file));
  undo(() => watch.close());
  return watch;
}

/** Said before it is made: it is gone with the scenario, and before it the Distributions there. */
export function undoNamespace({ cluster, undo }: Scenario, namespace: string): () => Promise<void> {
  return undo(async () => {
    await cluster.kubectl(['delete', 'distributions', '--all', '-n', namespace]);
    const gone = ['delete', 'namespace', namespace, '--ignore-not-found', '--wait=false'];
    await cluster.kubectl(gone);
  });
}

/** Power off, until the scenario is over or the answer is called; then it is Ready, with its agent. */
export async function switchOff(on: Scenario, node: ClusterNode): Promise<() => Promise<void>> {
  const { cluster, sluice } = on;
  const isBack = on.undo(async () => {
    if (node.process === undefined) await node.start();
    const object = `node/${node.name}`;
    await cluster.kubectl(['wait', object, '--for=create', '--timeout=60s']);
    await cluster.kubectl(['wait', object, '--for=condition=Ready', '--timeout=60s']);
    await sluice.untilAgentsReady();
  });
  await node.stop();
  return isBack;
}

export function leaderOf(sluice: Sluice): Promise<Pod> {
  return sluice.until('a leader', () => sluice.leader());
}

/** A node with neither the leader nor the database: what runs there can be lost for a while. */
export async function sparedNode({ sluice, cluster }: Scenario): Promise<ClusterNode> {
  const needed = [await leaderOf(sluice), ...(await sluice.pods('mongodb'))];
  const node = cluster.nodes.find(({ name }) => needed.every((pod) => pod.node !== name));
  if (node === undefined) throw new Error('leader and database are on all nodes');
  return node;
}

export async function scaleOperator(replicas: number): Promise<void> {
  const { cluster } = await attachedSluice();
  const operator = ['deployment/sluice-operator', '-n', NAMESPACE];
  await cluster.kubectl(['scale', ...operator, `--replicas=${replicas}`]);
  await cluster.kubectl(['rollout', 'status', ...operator, '--timeout=60s']);
}

/** What the origin itself saw, over all that the scenario did. */
async function expectLimitsHeld(sluice: Sluice, limits: OriginLimits): Promise<void> {
  const { maxConnections, maxBandwidth, maxTraffic } = limits;
  const { connections, maxOneSecondWindowBytes, bytesTotal } = await sluice.cluster.origin.stats();
  expect(connections.peak, 'connections at the origin').toBeLessThanOrEqual(maxConnections);
  expect(maxOneSecondWindowBytes, 'bytes in a second').toBeLessThanOrEqual(maxBandwidth);
  expect(bytesTotal, 'bytes at the origin').toBeLessThanOrEqual(maxTraffic.bytes);
}

async function attach(): Promise<Sluice> {
  const name = inject('clusterName');
  const cluster = (await runningClusters()).find((running) => running.name === name);
  if (cluster === undefined) throw new Error(`cluster ${name} does not run`);
  return new Sluice(cluster, await ReadClient.open(cluster, NAMESPACE));
}

function slugOf(what: string): string {
  return what
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 60);
}

afterAll(async () => {
  await (await attached)?.read.close();
});
