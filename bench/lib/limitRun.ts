/** One run of a group of bench/limits.ts: each cell at its origin, all at once, judged by meters. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuBusyShare, parseCpuTimes } from '../../e2e/demo/cpu.ts';
import type { OriginHost } from '../../e2e/origin/origin.ts';
import type { Cell, Group } from './limitCells.ts';
import { rateBetween, worstSecond } from './limitFigures.ts';
import { OriginHolders } from './originHolders.ts';

export interface LimitRun {
  readonly cell: string;
  /** The most that the origin wrote in any second / limit. */
  readonly worstSecondShare: number;
  /** Of the limit, from two seconds after the first byte on. */
  readonly usedShare: number;
  /** Of the limit, from the first byte on. */
  readonly wholeShare: number;
  readonly peakConnections: number;
  readonly requests: number;
  readonly cpuBusyShare: number;
  readonly leftOut?: string;
}

const MB = 1_000_000;
const FILE = 'file.bin';
/** Leases that begin with a guess of the latency know it by then, and holders share. */
const SETTLED_MS = 2_000;
const RUN_MS = 6_500;
/** No limit lets a run come to its end. */
const SIZE_BYTES = 2 ** 31;

/** `origins`: one for each cell at least. */
export async function limitRun(
  { cells }: Group,
  origins: readonly OriginHost[],
  signal: AbortSignal,
): Promise<LimitRun[]> {
  const runs = await Promise.all(cells.map((cell, at) => prepare(cell, origins[at] as OriginHost)));
  for (const { holders } of runs) holders.start();
  try {
    await sleep(SETTLED_MS, undefined, { signal });
    const before = await machineTimes();
    await sleep(RUN_MS - SETTLED_MS, undefined, { signal });
    const busy = cpuBusyShare(before, await machineTimes());
    const stats = await Promise.all(runs.map(({ origin }) => origin.stats()));
    return cells.map((cell, at) => judged(cell, stats[at] as Stats, busy));
  } finally {
    await Promise.all(runs.map(({ holders }) => holders.stop()));
  }
}

type Stats = Awaited<ReturnType<OriginHost['stats']>>;

async function prepare(cell: Cell, origin: OriginHost) {
  const { url } = await origin.putZeros(FILE, SIZE_BYTES);
  const { headers } = await fetch(url, { method: 'HEAD', headers: { connection: 'close' } });
  const etag = headers.get('etag');
  if (etag === null) throw new Error('the origin gives no ETag');
  const { timeToFirstByteMs, stall } = cell;
  await origin.behave('/', {
    delayMs: timeToFirstByteMs,
    ...(stall !== undefined && { stallEveryMs: stall.everyMs, stallForMs: stall.forMs }),
  });
  await origin.reset();
  const holders = new OriginHolders({ cell, url, sizeBytes: SIZE_BYTES, etag });
  return { origin, holders };
}

function judged(cell: Cell, stats: Stats, busy: number): LimitRun {
  const { perMillisecond: written, nowMs, connections, requests } = stats;
  const [firstMs] = written[0] ?? [nowMs];
  const limit = cell.limit * MB;
  return {
    cell: cell.name,
    worstSecondShare: worstSecond(written) / limit,
    usedShare: rateBetween(written, firstMs + SETTLED_MS, Math.floor(nowMs)) / limit,
    wholeShare: rateBetween(written, firstMs, Math.floor(nowMs)) / limit,
    peakConnections: connections.peak,
    requests: requests.length,
    cpuBusyShare: busy,
  };
}

async function machineTimes() {
  return parseCpuTimes(await readFile('/proc/stat', 'utf8'));
}
