/**
 * Events (events.k8s.io/v1) that tell an object's story to `kubectl describe`. Best effort and
 * bounded: an event that cannot be sent, or is one too many, is dropped. What repeats becomes one
 * event with a count.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { KubeClient } from './client.ts';
import { microTime } from './leaderElection.ts';
import { listPath, objectPath, type Resource, resources } from './paths.ts';

export interface EventSubject {
  readonly resource: Resource;
  readonly namespace?: string | undefined;
  readonly name: string;
  readonly uid: string;
}

export interface EventText {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase, one of the documented reasons. */
  readonly reason: string;
  /** CamelCase: what the operator did or tried. */
  readonly action: string;
  readonly note: string;
}

export interface EventRecorderDependencies {
  readonly client: KubeClient;
  readonly clock: Clock;
  onDropped(reason: 'queueFull' | 'tooMany' | 'refused', error?: unknown): void;
}

interface Series {
  readonly namespace: string;
  readonly name: string;
  count: number;
  lastMs: number;
  sentMs: number;
}

const CONTROLLER = 'sluice.dev/operator';
const MAX_QUEUED = 256;
const MAX_SERIES = 2048;
/** After so long without repetition the next one is a new event (as in client-go). */
const SERIES_MS = 6 * 60_000;
/** A count is written at most so often. */
const SERIES_UPDATE_MS = 15_000;
/** New events per object: so many at once, then one each EVENT_REFILL_MS. */
const EVENT_BURST = 20;
const EVENT_REFILL_MS = 20_000;
const MAX_NOTE_BYTES = 1024;
/** Events of objects without namespace live here, by convention of Kubernetes. */
const CLUSTER_NAMESPACE = 'default';

export class EventRecorder {
  readonly #instance: string;
  readonly #deps: EventRecorderDependencies;
  readonly #series = new Map<string, Series>();
  readonly #budgets = new Map<string, { tokens: number; atMs: number }>();
  readonly #queue: (() => Promise<void>)[] = [];
  readonly #stop = new AbortController();
  #sending = false;
  #number = 0;

  constructor(options: { readonly instance: string }, dependencies: EventRecorderDependencies) {
    this.#instance = options.instance;
    this.#deps = dependencies;
  }

  record(subject: EventSubject, text: EventText): void {
    const nowMs = this.#deps.clock.now();
    const key = [subject.uid, text.type, text.reason, text.note].join('\n');
    const series = this.#series.get(key);
    if (series !== undefined && nowMs - series.lastMs < SERIES_MS) {
      series.count += 1;
      series.lastMs = nowMs;
      if (nowMs - series.sentMs < SERIES_UPDATE_MS) return;
      series.sentMs = nowMs;
      this.#enqueue(() => this.#sendSeries(series));
      return;
    }
    if (!this.#spend(subject.uid, nowMs)) {
      this.#deps.onDropped('tooMany');
      return;
    }
    const created: Series = {
      namespace: subject.namespace ?? CLUSTER_NAMESPACE,
      name: this.#nameFor(subject),
      count: 1,
      lastMs: nowMs,
      sentMs: nowMs,
    };
    remember(this.#series, key, created);
    this.#enqueue(() => this.#sendNew(subject, text, created));
  }

  stop(): void {
    this.#stop.abort();
    this.#queue.length = 0;
  }

  #spend(uid: string, nowMs: number): boolean {
    const budget = this.#budgets.get(uid) ?? { tokens: EVENT_BURST, atMs: nowMs };
    const tokens = Math.min(EVENT_BURST, budget.tokens + (nowMs - budget.atMs) / EVENT_REFILL_MS);
    const allowed = tokens >= 1;
    remember(this.#budgets, uid, { tokens: allowed ? tokens - 1 : tokens, atMs: nowMs });
    return allowed;
  }

  #nameFor(subject: EventSubject): string {
    this.#number += 1;
    const suffix = `${Date.now().toString(36)}.${this.#number.toString(36)}`;
    return `${subject.name.slice(0, 200).replace(/[^a-z0-9]+$/, '')}.${suffix}`;
  }

  #enqueue(send: () => Promise<void>): void {
    if (this.#queue.length >= MAX_QUEUED) {
      this.#deps.onDropped('queueFull');
      return;
    }
    this.#queue.push(send);
    if (!this.#sending) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#sending = true;
    for (let send = this.#queue.shift(); send !== undefined; send = this.#queue.shift()) {
      try {
        await send();
      } catch (error) {
        if (!this.#stop.signal.aborted) this.#deps.onDropped('refused', error);
      }
    }
    this.#sending = false;
  }

  async #sendNew(subject: EventSubject, text: EventText, series: Series): Promise<void> {
    const { apiVersion, kind } = resources.events;
    await this.#deps.client.request({
      method: 'POST',
      path: listPath(resources.events, series.namespace),
      body: {
        apiVersion,
        kind,
        metadata: { namespace: series.namespace, name: series.name },
        eventTime: microTime(),
        reportingController: CONTROLLER,
        reportingInstance: this.#instance.slice(0, 128),
        type: text.type,
        reason: text.reason,
        action: text.action,
        note: truncate(text.note, MAX_NOTE_BYTES),
        regarding: {
          apiVersion: subject.resource.apiVersion,
          kind: subject.resource.kind,
          ...(subject.namespace !== undefined && { namespace: subject.namespace }),
          name: subject.name,
          uid: subject.uid,
        },
      },
      signal: this.#stop.signal,
    });
  }

  async #sendSeries(series: Series): Promise<void> {
    await this.#deps.client.request({
      method: 'PATCH',
      path: objectPath(resources.events, series),
      contentType: 'application/merge-patch+json',
      body: { series: { count: series.count, lastObservedTime: microTime() } },
      signal: this.#stop.signal,
    });
  }
}

/** Puts the entry last and drops the first, the least recently used, when there are too many. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MAX_SERIES) map.delete(map.keys().next().value!);
}

function truncate(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= maxBytes) return text;
  return `${bytes
    .subarray(0, maxBytes - 4)
    .toString('utf8')
    .replace(/\uFFFD+$/, '')}…`;
}
