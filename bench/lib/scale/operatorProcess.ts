/** The operator's own process, as in its image, and what it costs by the kernel and its metrics. */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestApiServer } from '@sluice/operator/testing/adapters/apiServer.ts';
import { repositoryRoot } from '../../../e2e/cluster/paths.ts';
import { imageEnvironment } from '../imageEnvironment.ts';
import { BRIDGE_ADDRESS } from '../namespaces.ts';
import { type Processes, processorSeconds } from '../processes.ts';
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
const READY_TIMEOUT_MS = 60_000;

export class OperatorProcess {
  readonly #pid: number;
  readonly #check: () => void;

  private constructor(pid: number, check: () => void) {
    this.#pid = pid;
    this.#check = check;
  }

  /** Resolves when it leads. `profile`: a folder for V8's processor profile, written at its end. */
  static async start(
    processes: Processes,
    options: {
      readonly folder: string;
      readonly kubeConfig: TestApiServer['operatorConfig'];
      readonly mongoUri: string;
      readonly profile: string | undefined;
    },
    signal: AbortSignal,
  ): Promise<OperatorProcess> {
    const { folder, kubeConfig, mongoUri, profile } = options;
    const file = path.join(folder, 'kubeconfig');
    await writeFile(file, kubeConfig.exportConfig());
    const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
    const { child } = processes.start(
      'operator',
      [process.execPath, ...flags, path.join(repositoryRoot, 'operator/src/main.ts')],
      {
        env: {
          ...imageEnvironment('operator'),
          KUBECONFIG: file,
          SLUICE_NAMESPACE: 'sluice-system',
          SLUICE_POD_NAME: 'sluice-operator-0',
          SLUICE_POD_IP: BRIDGE_ADDRESS,
          SLUICE_MONGODB_URI: mongoUri,
          SLUICE_RELAY_IMAGE: 'relay:1',
          SLUICE_AGENT_IMAGE: 'agent:1',
          SLUICE_CONTROL_PORT: String(CONTROL_PORT),
          SLUICE_METRICS_PORT: String(METRICS_PORT),
          SLUICE_LOG_LEVEL: 'warn',
        },
      },
    );
    const operator = new OperatorProcess(child.pid as number, () =>
      processes.check(new Set(['operator'])),
    );
    await operator.#untilLeading(signal);
    return operator;
  }

  async sample(): Promise<OperatorSample> {
    this.#check();
    const text = await scrape().catch(async (error: unknown) => {
      // When it has just ended, that is what to say.
      await sleep(500);
      this.#check();
      throw error;
    });
    const status = readFileSync(`/proc/${this.#pid}/status`, 'utf8');
    return {
      atMs: performance.now(),
      processorSeconds: processorSeconds(this.#pid),
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
    process.kill(this.#pid, 'SIGTERM');
  }

  async #untilLeading(signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      signal.throwIfAborted();
      this.#check();
      const text = await scrape().catch(() => '');
      if (sumOf(text, 'sluice_operator_leader', {}) === 1) return;
      if (performance.now() > deadline) throw new Error('the operator does not lead');
      await sleep(200, undefined, { signal });
    }
  }
}

async function scrape(): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`);
  return response.text();
}

/** Of 10^6 bytes. */
function megabytes(status: string, name: string): number {
  const [, kib = '0'] = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status) ?? [];
  return (Number(kib) * 1024) / 1e6;
}
