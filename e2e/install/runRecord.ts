/**
 * What was said and kept secret over a whole run. Kubelets remove the logs of pods that are gone, and
 * the API server forgets statuses, events and Secrets: so they are kept while they are there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { glob, link, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildClusterBinaries } from '../cluster/build.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { NAMESPACE } from './sluice.ts';

/** A pod that is killed at once has its log for longer. */
const LOGS_EVERY_MS = 500;
const RETRY_MS = 2_000;
/** By the name of what is kept of them: each change is a line. */
const WATCHED = {
  distributions: '/apis/sluice.dev/v1alpha1/distributions',
  origins: '/apis/sluice.dev/v1alpha1/origins',
  events: '/apis/events.k8s.io/v1/events',
  secrets: '/api/v1/secrets',
} as const;
/** Shorter ones are words that stand anywhere. */
const MIN_SECRET_CHARS = 8;
/** Of a part of a structure, which also has names. */
const MIN_PART_CHARS = 24;

interface SecretChange {
  readonly object: { readonly data?: Readonly<Record<string, string>> };
}

/** What all Secrets have held, in what was watched of them, but for certificates. */
export function secretsIn(changes: string): string[] {
  const values = changes.split('\n').flatMap((line) => {
    const { data = {} } = changeOf(line)?.object ?? {};
    return Object.entries(data).flatMap(([key, value]) => (key.endsWith('.crt') ? [] : [value]));
  });
  const secrets = [...new Set(values)].flatMap(formsOf);
  return [...new Set(secrets.filter((secret) => !secret.startsWith('-----')))];
}

/** In which it could be told: as it is kept, line by line, and a string within JSON likewise. */
function formsOf(encoded: string): string[] {
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const lines = text.split('\n').filter((line) => line.length >= MIN_SECRET_CHARS);
  const parts = [encoded, ...text.split(/\n|\\n|"/)];
  return [...lines, ...parts.filter((part) => part.length >= MIN_PART_CHARS)];
}

/** Undefined: a line that was cut. */
function changeOf(line: string): SecretChange | undefined {
  try {
    return JSON.parse(line) as SecretChange;
  } catch {
    return undefined;
  }
}

export class RunRecord {
  readonly #cluster: Cluster;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[] = [];

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  async start(): Promise<void> {
    await mkdir(this.#folder('logs'), { recursive: true });
    const kubectl = path.join(await buildClusterBinaries(), 'kubectl');
    const watches = Object.entries(WATCHED).map(([name, api]) => this.#watch(kubectl, name, api));
    this.#running.push(this.#keepLogs(), ...watches);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  /** Logs of all containers of Sluice that have run, by names that have the pods'. */
  async logs(): Promise<Map<string, string>> {
    await this.#linkLogs();
    const folder = this.#folder('logs');
    return this.#texts(folder, await readdir(folder));
  }

  /** Every state that the objects of Sluice had, and all events. */
  async changes(): Promise<Map<string, string>> {
    const names = Object.keys(WATCHED).filter((name) => name !== 'secrets');
    return this.#texts(this.#folder(), names);
  }

  /** Of all Secrets that there have been. */
  async secrets(): Promise<string[]> {
    return secretsIn(await readFile(this.#folder('secrets'), 'utf8'));
  }

  #folder(...below: string[]): string {
    return path.join(this.#cluster.stateFolder, 'record', ...below);
  }

  async #texts(folder: string, names: readonly string[]): Promise<Map<string, string>> {
    const texts = names.map(async (name) => {
      return [name, await readFile(path.join(folder, name), 'utf8')] as const;
    });
    return new Map(await Promise.all(texts));
  }

  async #keepLogs(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#linkLogs();
      await sleep(LOGS_EVERY_MS, undefined, { signal: this.#stop.signal }).catch(() => {});
    }
  }

  /** A second name of the file outlives its removal, and sees what is written until then. */
  async #linkLogs(): Promise<void> {
    for (const node of this.#cluster.nodes) {
      const folder = node.hostPath('/var/log/pods');
      for await (const file of glob(`${NAMESPACE}_*/*/*.log*`, { cwd: folder })) {
        const from = path.join(folder, file);
        const { ino } = await stat(from).catch(() => ({ ino: undefined }));
        if (ino === undefined) continue;
        const name = `${node.name}_${path.dirname(file).replaceAll('/', '_')}_${ino}`;
        // It is there already, or gone by now.
        await link(from, this.#folder('logs', name)).catch(() => {});
      }
    }
  }

  /** The API server is away at times, and ends watches; the next one begins with what there is. */
  async #watch(kubectl: string, name: string, api: string): Promise<void> {
    const { signal } = this.#stop;
    const kept = createWriteStream(this.#folder(name), { flags: 'a' });
    while (!signal.aborted) {
      // What was cut in the middle of a line is said again.
      kept.write('\n');
      const child = this.#stream(kubectl, `${api}?watch=true`);
      child.stdout?.pipe(kept, { end: false });
      await once(child, 'close');
      await sleep(RETRY_MS, undefined, { signal }).catch(() => {});
    }
    kept.end();
    await once(kept, 'close');
  }

  #stream(kubectl: string, api: string): ChildProcess {
    const env = { ...process.env, KUBECONFIG: this.#cluster.kubeconfigPath };
    const child = spawn(kubectl, ['get', '--raw', api], {
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const end = () => child.kill();
    this.#stop.signal.addEventListener('abort', end, { once: true });
    child.once('close', () => this.#stop.signal.removeEventListener('abort', end));
    return child;
  }
}
