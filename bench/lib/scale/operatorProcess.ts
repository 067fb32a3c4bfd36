/** The operator's own process, as in its image, and what it costs by the kernel and its metrics. */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { repositoryRoot } from '../../../e2e/cluster/paths.ts';
import { imageEnvironment } from '../imageEnvironment.ts';
import { type Processes, processorSeconds, type Started } from '../processes.ts';
import { type Histogram, histogramOf, sumOf, valuesOf } from './metricsText.ts';

export interface OperatorSample {
  readonly atMs: number;
  readonly processorSeconds: number;
  readonly rssMb: number;
  readonly peakRssMb: number;
  /** Of V8, with what it has not collected yet. */
  readonly heapMb: number;
  readonly agentsConnected: number;
  readonly kubeRequests: Readonly<Record<string, number>>;
  readonly reconciliations: Histogram;
}

const CONTROL_PORT = 8443;
const METRICS_PORT = 8080;
const READY_TIMEOUT_MS = 300_000;

export interface OperatorOptions {
  /** For its kubeconfig. */
  readonly folder: string;
  /** As text. */
  readonly kubeConfig: string;
  readonly mongoUri: string;
  /** A folder for V8's processor profile, written at its end. */
  readonly profile: string | undefined;
  /** Name and address of its pod. */
  readonly pod: string;
  readonly address: string;
  /** Besides what it needs in any case. */
  readonly env?: Readonly<Record<string, string>>;
  /** What comes before its command line, as to run it on another host. */
  readonly within?: readonly string[];
}

export class OperatorProcess {
  readonly pod: string;
  readonly address: string;
  readonly #started: Started;
  #isKilled = false;

  private constructor(started: Started, { pod, address }: OperatorOptions) {
    this.#started = started;
    this.pod = pod;
    this.address = address;
  }

  /** Resolves when it is Ready, whether it leads or not. */
  static async start(
    processes: Processes,
    options: OperatorOptions,
    signal: AbortSignal,
  ): Promise<OperatorProcess> {
    const { folder, kubeConfig, mongoUri, profile, pod, address, within = [] } = options;
    const file = path.join(folder, `${pod}.kubeconfig`);
    await writeFile(file, kubeConfig);
    const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
    const started = processes.start(
      pod,
      [...within, process.execPath, ...flags, path.join(repositoryRoot, 'operator/src/main.ts')],
      {
        env: {
          ...imageEnvironment('operator'),
          KUBECONFIG: file,
          SLUICE_NAMESPACE: 'sluice-system',
          SLUICE_POD_NAME: pod,
          SLUICE_POD_IP: address,
          SLUICE_MONGODB_URI: mongoUri,
          SLUICE_RELAY_IMAGE: 'relay:1',
          SLUICE_AGENT_IMAGE: 'agent:1',
          SLUICE_CONTROL_PORT: String(CONTROL_PORT),
          SLUICE_METRICS_PORT: String(METRICS_PORT),
          SLUICE_LOG_LEVEL: 'warn',
          ...options.env,
        },
      },
    );
    const operator = new OperatorProcess(started, options);
    await operator.#until('is not Ready', signal, async () => {
      const response = await fetch(`${operator.#url}/readyz`);
      await response.text();
      return response.ok;
    });
    return operator;
  }

  get #url(): string {
    return `http://${this.address}:${METRICS_PORT}`;
  }

  get pid(): number {
    return this.#started.child.pid as number;
  }

  get processorSeconds(): number {
    return processorSeconds(this.pid);
  }

  get isKilled(): boolean {
    return this.#isKilled;
  }

  async sample(): Promise<OperatorSample> {
    this.check();
    const text = await this.#scrape().catch(async (error: unknown) => {
      // When it has just ended, that is what to say.
      await sleep(500);
      this.check();
      throw error;
    });
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return {
      atMs: performance.now(),
      processorSeconds: this.processorSeconds,
      rssMb: megabytes(status, 'VmRSS'),
      peakRssMb: megabytes(status, 'VmHWM'),
      heapMb: sumOf(text, 'sluice_operator_nodejs_heap_size_used_bytes', {}) / 1e6,
      agentsConnected: sumOf(text, 'sluice_processes_connected', { kind: 'agent' }),
      kubeRequests: valuesOf(text, 'sluice_operator_kube_requests_total', ['method', 'resource']),
      reconciliations: histogramOf(text, 'sluice_operator_reconcile_seconds'),
    };
  }

  /** In good order, so that a profile is written. */
  end(): void {
    process.kill(this.pid, 'SIGTERM');
  }

  /** As when its machine dies. */
  async kill(): Promise<void> {
    this.#isKilled = true;
    process.kill(this.pid, 'SIGKILL');
    await this.#started.exit;
  }

  untilLeading(signal: AbortSignal): Promise<void> {
    return this.#until('does not lead', signal, async () => {
      return sumOf(await this.#scrape(), 'sluice_operator_leader', {}) === 1;
    });
  }

  async #until(what: string, signal: AbortSignal, is: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    while (!(await is().catch(() => false))) {
      signal.throwIfAborted();
      this.check();
      if (performance.now() > deadline) throw new Error(`${this.pod} ${what}:\n${this.#said()}`);
      await sleep(200, undefined, { signal });
    }
  }

  /** Throws when it has ended by itself: nobody waits for what cannot come. */
  check(): void {
    const how = this.#started.ended();
    if (how === undefined || this.#isKilled) return;
    throw new Error(`${this.pod} has ended by itself (${how}):\n${this.#said()}`);
  }

  /** The end of its log. */
  #said(): string {
    return readFileSync(this.#started.logFile, 'utf8').slice(-2_000);
  }

  async #scrape(): Promise<string> {
    const response = await fetch(`${this.#url}/metrics`);
    return response.text();
  }
}

/** Of 10^6 bytes. */
function megabytes(status: string, name: string): number {
  const [, kib = '0'] = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status) ?? [];
  return (Number(kib) * 1024) / 1e6;
}
