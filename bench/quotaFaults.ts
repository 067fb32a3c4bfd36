/**
 * Control servers, their database, holders of leases and an origin, whatever fails: worlds of which
 * everything follows from a seed, until so many faults have happened. An oracle that shares no code
 * with the leases watches the origin's sockets. A world that comes to a bad end is named by its seed.
 *   node bench/quotaFaults.ts [--faults 1000000] [--seed 1] [--worlds 1] [--drift 0.001] [--jobs 2]
 */
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { QuotaTrial, QuotaVerdict } from '@sluice/operator/sim/randomQuotaWorld.ts';
import { failWith } from '../e2e/cluster/command.ts';
import { figureOf } from './lib/figures.ts';
import { record } from './lib/record.ts';

const TELL_EVERY = 100;
/** Every tenth world has clocks that are so far off, and an operator that is told. */
const BAD_CLOCKS = 0.05;
const BAD_CLOCKS_EVERY = 10;
/** What goes wrong late finds what has gathered; what begins anew finds other worlds. */
const SHORT_MS = 90_000;
const LONG_MS = 300_000;
const SHORT_EVERY = 3;

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
    worlds: { type: 'string' },
    drift: { type: 'string' },
    jobs: { type: 'string', default: String(availableParallelism()) },
  },
});

interface Totals {
  worlds: number;
  virtualSeconds: number;
  originBytes: number;
  readonly faults: Map<string, number>;
  readonly journals: { -readonly [Fact in keyof QuotaVerdict['journals']]: number };
  readonly peak: { connections: number; window: number; traffic: number };
  readonly bad: { seed: number; drift: number; problems: readonly string[] }[];
}

try {
  process.exitCode = (await tryAll()) ? 0 : 1;
} catch (error) {
  failWith('bench', error);
}

async function tryAll(): Promise<boolean> {
  const first = Number(values.seed);
  const wantedFaults = Number(values.faults);
  const wantedWorlds = values.worlds === undefined ? undefined : Number(values.worlds);
  const totals: Totals = {
    worlds: 0,
    virtualSeconds: 0,
    originBytes: 0,
    faults: new Map(),
    journals: { snapshots: 0, snapshotsRead: 0, prunedDocuments: 0, restarts: 0 },
    peak: { connections: 0, window: 0, traffic: 0 },
    bad: [],
  };
  const beganAtMs = performance.now();
  const isEnough = () =>
    wantedWorlds === undefined ? faultsIn(totals) >= wantedFaults : seed >= first + wantedWorlds;
  let seed = first;
  const tryOneByOne = async () => {
    const thread = new Worker(new URL('./lib/quotaWorldThread.ts', import.meta.url));
    while (!isEnough()) {
      const trial = trialOf(seed);
      seed += 1;
      thread.postMessage(trial);
      const [verdict] = (await once(thread, 'message')) as [QuotaVerdict];
      take(totals, trial, verdict);
    }
    await thread.terminate();
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, tryOneByOne));
  if (wantedWorlds !== undefined) return totals.bad.length === 0;
  return tell(totals, first, wantedFaults, (performance.now() - beganAtMs) / 1000);
}

function trialOf(seed: number): Required<QuotaTrial> {
  const drift = Number(values.drift ?? (seed % BAD_CLOCKS_EVERY === 0 ? BAD_CLOCKS : 0.001));
  const faultsMs = seed % SHORT_EVERY === 0 ? SHORT_MS : LONG_MS;
  return { seed, drift, faultsMs };
}

function take(totals: Totals, trial: Required<QuotaTrial>, verdict: QuotaVerdict): void {
  const { seed, drift } = trial;
  totals.worlds += 1;
  totals.virtualSeconds += verdict.virtualSeconds;
  totals.originBytes += verdict.originBytes;
  for (const [kind, count] of verdict.faults) {
    totals.faults.set(kind, (totals.faults.get(kind) ?? 0) + count);
  }
  const { peak, journals } = totals;
  for (const fact of Object.keys(journals) as (keyof typeof journals)[]) {
    journals[fact] += verdict.journals[fact];
  }
  peak.connections = Math.max(peak.connections, verdict.peak.connections);
  peak.window = Math.max(peak.window, verdict.peak.window);
  peak.traffic = Math.max(peak.traffic, verdict.peak.traffic);
  const { problems } = verdict;
  if (problems.length > 0) {
    totals.bad.push({ seed, drift, problems });
    console.log(`seed ${seed}: ${problems.join('; ')}`);
    const repeat = `--seed ${seed} --worlds 1 --drift ${drift}`;
    console.log(`  repeat it: make bench NAME=quotaFaults ARGS='${repeat}'`);
  }
  if (totals.worlds % TELL_EVERY === 0) {
    console.log(`${totals.worlds} worlds, ${faultsIn(totals)} faults, ${totals.bad.length} bad`);
  }
}

function faultsIn({ faults }: Totals): number {
  let sum = 0;
  for (const count of faults.values()) sum += count;
  return sum;
}

function tell(totals: Totals, first: number, faults: number, seconds: number): Promise<boolean> {
  const { worlds, bad, peak, virtualSeconds, originBytes, journals } = totals;
  const none = { atMost: 0, judgedBy: 'everyRun' } as const;
  const within = { atMost: 1, judgedBy: 'everyRun' } as const;
  const kinds = [...totals.faults].sort(([a], [b]) => a.localeCompare(b));
  return record({
    name: 'quotaFaults',
    about: `Worlds of seeds ${first} to ${first + worlds - 1}: 2 or 3 control servers with the real lease service, a database that loses, delays, rolls back and is restored from backups, up to 8 holders with the real loops and pullers, and an origin whose sockets an oracle watches. Faults for 300 s, in every third world for 90 s. Clocks are 0.1 % off, in every tenth world 5 %.`,
    command: `make bench NAME=quotaFaults ARGS='--faults ${faults} --seed ${first}'`,
    runs: bad.toSorted((a, b) => a.seed - b.seed),
    figures: [
      figureOf('faults', 'faults', [faultsIn(totals)], { atLeast: faults, judgedBy: 'everyRun' }),
      figureOf('worlds with a violation, or that do not go on', 'worlds', [bad.length], none),
      figureOf('most connections / limit', 'share', [peak.connections], within),
      figureOf('most bytes in a second / limit', 'share', [peak.window], within),
      figureOf('most bytes in a period / limit', 'share', [peak.traffic], within),
      figureOf('worlds', 'worlds', [worlds]),
      figureOf('bytes from the origin', 'GiB', [originBytes / 2 ** 30]),
      figureOf('snapshots of journals', 'snapshots', [journals.snapshots]),
      figureOf('times that one was read', 'times', [journals.snapshotsRead]),
      figureOf('documents that were removed', 'documents', [journals.prunedDocuments]),
      figureOf('times that one went on behind its mark', 'times', [journals.restarts]),
      figureOf('time in the worlds', 's', [virtualSeconds]),
      figureOf('time that it took', 's', [seconds]),
      ...kinds.map(([kind, count]) => figureOf(`of these: ${kind}`, 'faults', [count])),
    ],
  });
}
