/**
 * How soon a Distribution has its first relay, on a real cluster with Deployments, a scheduler and
 * kubelets: from when a watch shows the object to when another one shows the first pod of a relay.
 * Images are on the nodes, and no relay runs before.
 *   node bench/firstRelay.ts [--runs 10]
 */
import { parseArgs } from 'node:util';
import { type Cluster, startCluster } from '../e2e/cluster/cluster.ts';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { sluiceImages } from '../e2e/cluster/images.ts';
import { distributionResource, originResource } from '../e2e/install/resources.ts';
import { archivesOf, installSluice, NAMESPACE, type Sluice } from '../e2e/install/sluice.ts';
import { LIMITS } from '../e2e/scenarios/limits.ts';
import { figureOf } from './lib/figures.ts';
import { record } from './lib/record.ts';

const NODES = 4;
const ZONES = 2;
const FILE_BYTES = 16 * 1024 * 1024;
const RELAY_IDLE_SECONDS = 5;
const DAY_MS = 86_400_000;
const SELECTOR = 'app.kubernetes.io/name=sluice,app.kubernetes.io/component=relay';
const RELAY_PODS = ['pods', '-n', NAMESPACE, '-l', SELECTOR];

interface Run {
  /** From when the Distribution was seen. */
  readonly secondsUntilCreated: number;
  readonly secondsUntilRunning: number;
  readonly secondsUntilReady: number;
}

/** When each line of a watch came first. */
class Watch {
  readonly #seenAtMs = new Map<string, number>();
  readonly #ended = new AbortController();

  constructor(cluster: Cluster, what: readonly string[], columns: string) {
    const args = ['get', ...what, '--watch', '-o', `jsonpath=${columns}{"\\n"}`];
    const onLine = (line: string) => {
      if (!this.#seenAtMs.has(line)) this.#seenAtMs.set(line, performance.now());
    };
    const { signal } = this.#ended;
    cluster.kubectl(args, { signal, onLine, timeoutMs: DAY_MS }).catch((error: unknown) => {
      if (!signal.aborted) failWith('bench', error);
    });
  }

  /** The first that came at this time or later. */
  first(isIt: (line: string) => boolean, sinceMs: number): number | undefined {
    for (const [line, atMs] of this.#seenAtMs) if (atMs >= sinceMs && isIt(line)) return atMs;
    return undefined;
  }

  end(): void {
    this.#ended.abort();
  }
}

const { values } = parseArgs({ options: { runs: { type: 'string', default: '10' } } });
const signal = abortOnSignal();
const log = console.log;

try {
  const images = await sluiceImages({ log });
  const archives = archivesOf(images);
  const cluster = await startCluster({ nodes: NODES, zones: ZONES, images: archives, log, signal });
  try {
    const sluice = await installSluice(cluster, images, { relayIdleSeconds: RELAY_IDLE_SECONDS });
    await sluice.apply(originResource('first', 'origin.sluice.test', LIMITS));
    const runs = await measure(sluice, Number(values.runs)).finally(() => sluice.read.close());
    if (!(await recordRuns(runs))) process.exitCode = 1;
  } finally {
    await cluster.stop();
  }
} catch (error) {
  failWith('bench', signal.aborted ? signal.reason : error);
}

async function measure(sluice: Sluice, count: number): Promise<Run[]> {
  const { cluster } = sluice;
  const pods = new Watch(cluster, RELAY_PODS, '{.metadata.name} {.status.phase}');
  const distributions = new Watch(cluster, ['distributions', '-n', 'default'], '{.metadata.name}');
  try {
    const runs: Run[] = [];
    for (let at = 1; at <= count; at += 1) {
      signal.throwIfAborted();
      runs.push(await runOnce(sluice, `first-${at}`, pods, distributions));
      log(`run ${at}: ${JSON.stringify(runs.at(-1))}`);
    }
    return runs;
  } finally {
    pods.end();
    distributions.end();
  }
}

async function runOnce(
  sluice: Sluice,
  name: string,
  pods: Watch,
  distributions: Watch,
): Promise<Run> {
  const { origin } = sluice.cluster;
  await sluice.until('the relays of the run before are gone', async () => {
    const left = await sluice.cluster.kubectl(['get', ...RELAY_PODS, '-o', 'name']);
    return left.trim() === '' || undefined;
  });
  const file = await origin.putFile(`${name}.bin`, { sizeBytes: FILE_BYTES, seed: name });
  const beganMs = performance.now();
  const { url, sha256 } = file;
  await sluice.apply(distributionResource({ name, url, sha256 }));
  const appliedMs = await sluice.until('the Distribution is seen', async () =>
    distributions.first((line) => line === name, beganMs),
  );
  const podIs = (as: RegExp) => async () => pods.first((line) => as.test(line), beganMs);
  const createdMs = await sluice.until('a relay is created', podIs(/^\S+ Pending$/));
  const runningMs = await sluice.until('a relay runs', podIs(/^\S+ Running$/));
  await sluice.untilReady(name);
  const readyMs = performance.now();
  await sluice.remove(name);
  await origin.remove(file.name);
  const since = (atMs: number) => (atMs - appliedMs) / 1000;
  return {
    secondsUntilCreated: since(createdMs),
    secondsUntilRunning: since(runningMs),
    secondsUntilReady: since(readyMs),
  };
}

function recordRuns(runs: readonly Run[]): Promise<boolean> {
  const each = (pick: (run: Run) => number) => runs.map(pick);
  return record({
    name: 'firstRelay',
    about: `A Distribution of ${FILE_BYTES} bytes to ${NODES} nodes in ${ZONES} zones, ${runs.length} times; before each no relay ran. All of the cluster is on the one machine.`,
    runs,
    figures: [
      figureOf(
        'apply to first relay pod created',
        's',
        each((run) => run.secondsUntilCreated),
        { atMost: 1, judgedBy: 'median' },
      ),
      figureOf(
        'apply to first relay pod running',
        's',
        each((run) => run.secondsUntilRunning),
      ),
      figureOf(
        'apply to Ready on all nodes',
        's',
        each((run) => run.secondsUntilReady),
      ),
    ],
  });
}
