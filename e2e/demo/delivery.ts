/** One delivery from `kubectl apply` to the last node, watched, and judged at the origin's meter. */
import { readFile } from 'node:fs/promises';
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

const POLL_MS = 200;
const SNAPSHOT_MS = 1_000;
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
  const last = await untilDelivered(sluice, uid, startedAt, options);
  const endedAtMs = Date.now();
  const applySeconds = (performance.now() - startedAt) / 1000;
  const cpuAfter = await cpuTimes();
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

async function untilDelivered(
  sluice: Sluice,
  uid: string,
  startedAt: number,
  { file, onSnapshot, signal, timeoutMs = DEFAULT_TIMEOUT_MS }: DeliveryOptions,
): Promise<Snapshot> {
  const { read, cluster } = sluice;
  let shownAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    signal?.throwIfAborted();
    const now = performance.now();
    // Until the operator has resolved the source it knows nothing of it.
    const nodes = await read.assignments(uid).catch(() => []);
    const isDone = nodes.length === cluster.nodes.length && nodes.every(isReady);
    if (isDone || now - shownAt >= SNAPSHOT_MS) {
      shownAt = now;
      const view = await read.distribution(uid).catch(() => undefined);
      const snapshot: Snapshot = {
        elapsedSeconds: (now - startedAt) / 1000,
        sizeBytes: file.sizeBytes,
        nodes,
        relays: view?.relays ?? [],
        originBytes: view?.originBytes ?? 0,
      };
      onSnapshot?.(snapshot);
      if (isDone) return snapshot;
    }
    const failed = nodes.find(({ state }) => state === 'failed');
    if (failed !== undefined) throw new Error(`${failed.name}: ${failed.error?.message}`);
    if (now - startedAt > timeoutMs) {
      throw new Error(`not delivered within ${timeoutMs / 1000} s: ${JSON.stringify(nodes)}`);
    }
    await sleep(POLL_MS, undefined, { signal });
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
    await sleep(POLL_MS);
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
