/** One delivery from `kubectl apply` to the last node, watched, and judged at the origin's meter. */
import { readFile, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeView, RelayView } from '../install/readClient.ts';
import { distributionResource, type OriginLimits } from '../install/resources.ts';
import { type Sluice, sha256OfFile } from '../install/sluice.ts';
import type { MeterStats, OriginFile } from '../origin/origin.ts';
import { type CpuTimes, cpuBusyShare, parseCpuTimes } from './cpu.ts';
import { fluidBoundSeconds } from './fluidBound.ts';

/** What one sees while it runs. */
export interface Snapshot {
  readonly elapsedSeconds: number;
  readonly sizeBytes: number;
  readonly nodes: readonly NodeView[];
  readonly relays: readonly RelayView[];
  readonly originBytes: number;
}

export interface DeliveryOptions {
  readonly name: string;
  readonly file: OriginFile;
  readonly limits: OriginLimits;
  /** Bytes per second of each node's link. */
  readonly linkRate: number;
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly onSnapshot?: (snapshot: Snapshot) => void;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
}

export interface Delivery {
  readonly nodes: number;
  readonly relays: number;
  readonly sizeBytes: number;
  /** From `kubectl apply`. */
  readonly applySeconds: number;
  /** From the first byte of the origin that was no probe. */
  readonly seconds: number;
  readonly boundSeconds: number;
  readonly originBytes: number;
  readonly peakConnections: number;
  readonly maxWindowBytes: number;
  readonly limits: OriginLimits;
  /** Of what the nodes received. */
  readonly fromPeersShare: number;
  /** A node's first byte after the first byte of a relay. */
  readonly firstByteDelayMs: number;
  /** Names of nodes whose file differs. */
  readonly wrongNodes: readonly string[];
  /** Of the machine that all of it runs on. */
  readonly cpuBusyShare: number;
}

/** Cheap: it asks the disks. */
const PLACED_POLL_MS = 50;
/** The read side asks the API server who asks, each time. */
const SNAPSHOT_MS = 1_000;
const QUIET_POLL_MS = 200;
const DEFAULT_TIMEOUT_MS = 300_000;

/** Leaves the Distribution in place. */
export async function deliver(sluice: Sluice, options: DeliveryOptions): Promise<Delivery> {
  const { name, file, limits, linkRate, spec } = options;
  const { origin } = sluice.cluster;
  await origin.reset();
  const { url, sha256 } = file;
  const cpuBefore = await cpuTimes();
  const startedAt = performance.now();
  await sluice.apply(distributionResource({ name, url, sha256, ...(spec && { spec }) }));
  const { uid } = (await sluice.distribution(name)).metadata;
  const startedAtMs = Date.now() - (performance.now() - startedAt);
  const ended = new AbortController();
  const signal = AbortSignal.any([ended.signal, ...(options.signal ? [options.signal] : [])]);
  const placed = untilPlaced(sluice, { ...options, signal }).then(async ({ atMs }) => {
    return { atMs, cpu: await cpuTimes() };
  });
  const watched = watch(sluice, uid, startedAt, { ...options, signal });
  const [{ atMs: endedAtMs, cpu: cpuAfter }, last] = await Promise.all([placed, watched]).finally(
    () => ended.abort(),
  );
  const applySeconds = (endedAtMs - startedAtMs) / 1000;
  const stats = await untilQuiet(sluice);
  const wrongNodes: string[] = [];
  for (const node of sluice.cluster.nodes) {
    const placed = sluice.placed(node, name, file.name);
    const found = await sha256OfFile(placed).catch(() => 'missing');
    if (found !== sha256) wrongNodes.push(node.name);
  }
  return {
    nodes: last.nodes.length,
    relays: last.relays.length,
    sizeBytes: file.sizeBytes,
    applySeconds,
    seconds: (endedAtMs - pullBeganMs(stats)) / 1000,
    boundSeconds: fluidBoundSeconds({
      sizeBytes: file.sizeBytes,
      nodes: last.nodes.length,
      originRate: limits.maxBandwidth,
      linkRate,
    }),
    originBytes: stats.bytesTotal,
    peakConnections: stats.connections.peak,
    maxWindowBytes: stats.maxOneSecondWindowBytes,
    limits,
    fromPeersShare: fromPeersShare(last.nodes),
    firstByteDelayMs: firstByteDelayMs(last),
    wrongNodes,
    cpuBusyShare: cpuBusyShare(cpuBefore, cpuAfter),
  };
}

/** When the file had its place on the last node, as the disks say it. */
async function untilPlaced(
  sluice: Sluice,
  { name, file, signal, timeoutMs = DEFAULT_TIMEOUT_MS }: DeliveryOptions,
): Promise<{ atMs: number }> {
  const giveUpAt = performance.now() + timeoutMs;
  const missing = new Set(sluice.cluster.nodes);
  for (;;) {
    for (const node of missing) {
      const isThere = await stat(sluice.placed(node, name, file.name)).catch(() => undefined);
      if (isThere) missing.delete(node);
    }
    if (missing.size === 0) return { atMs: Date.now() };
    if (performance.now() > giveUpAt) {
      const names = [...missing].map((node) => node.name).join(', ');
      throw new Error(`not delivered within ${timeoutMs / 1000} s: missing on ${names}`);
    }
    await sleep(PLACED_POLL_MS, undefined, { signal });
  }
}

/** Shows how it goes, until every node says that it is ready, or one that it failed. */
async function watch(
  sluice: Sluice,
  uid: string,
  startedAt: number,
  { file, onSnapshot, signal, timeoutMs = DEFAULT_TIMEOUT_MS }: DeliveryOptions,
): Promise<Snapshot> {
  const { read, cluster } = sluice;
  for (;;) {
    // Until the operator has resolved the source it knows nothing of it.
    const nodes = await read.assignments(uid).catch(() => []);
    const view = await read.distribution(uid).catch(() => undefined);
    signal?.throwIfAborted();
    const snapshot: Snapshot = {
      elapsedSeconds: (performance.now() - startedAt) / 1000,
      sizeBytes: file.sizeBytes,
      nodes,
      relays: view?.relays ?? [],
      originBytes: view?.originBytes ?? 0,
    };
    onSnapshot?.(snapshot);
    if (nodes.length === cluster.nodes.length && nodes.every(isReady)) return snapshot;
    const failed = nodes.find(({ state }) => state === 'failed');
    if (failed !== undefined) throw new Error(`${failed.name}: ${failed.error?.message}`);
    if (performance.now() - startedAt > timeoutMs) {
      throw new Error(`not ready within ${timeoutMs / 1000} s: ${JSON.stringify(nodes)}`);
    }
    await sleep(SNAPSHOT_MS, undefined, { signal });
  }
}

function isReady({ state }: NodeView): boolean {
  return state === 'ready';
}

/** Relays may close their connections a moment after the last node is ready. */
async function untilQuiet(sluice: Sluice): Promise<MeterStats> {
  for (let attempt = 0; ; attempt += 1) {
    const stats = await sluice.cluster.origin.stats();
    if (stats.connections.open === 0 || attempt === 50) return stats;
    await sleep(QUIET_POLL_MS);
  }
}

/** The first request for more than the probe's two bytes. */
function pullBeganMs({ requests }: MeterStats): number {
  const pulls = requests.filter(({ range }) => range !== 'bytes=0-1' && range !== 'bytes=0-0');
  return Math.min(...pulls.map(({ timeMs }) => timeMs));
}

function fromPeersShare(nodes: readonly NodeView[]): number {
  let peers = 0;
  let all = 0;
  for (const { received } of nodes) {
    peers += received.fromPeers;
    all += Object.values(received).reduce((sum, bytes) => sum + bytes, 0);
  }
  return all === 0 ? 0 : peers / all;
}

function firstByteDelayMs({ nodes, relays }: Snapshot): number {
  const first = (views: readonly { readonly firstByteAtMs?: number }[]) =>
    Math.min(...views.map(({ firstByteAtMs }) => firstByteAtMs ?? Number.POSITIVE_INFINITY));
  return Math.max(0, first(nodes) - first(relays));
}

async function cpuTimes(): Promise<CpuTimes> {
  return parseCpuTimes(await readFile('/proc/stat', 'utf8'));
}
