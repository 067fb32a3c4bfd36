/**
 * Keeps a copy of a kind of objects equal to the API server's: lists in pages, then watches from
 * the list's resourceVersion with bookmarks; resumes after a break where it was. It lists again only
 * when the server has forgotten that version (410), or does not know it yet, because its etcd was
 * restored from a backup; or when watches fail one after the other, whatever the server says.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import { codeOf, isKubeError, type KubeClient, KubeError, type StatusObject } from './client.ts';

export interface KubeObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
}

export interface ReflectorOptions {
  /** Path of the list, such as /api/v1/nodes. */
  readonly path: string;
  readonly labelSelector?: string;
  readonly pageSize?: number;
  /** The server ends a watch after this; a watch that is silent for longer is broken. */
  readonly watchSeconds?: number;
}

/** Groups objects, for example by namespace; undefined leaves one out. */
type Index<T> = (object: T) => string | undefined;

export interface ReflectorDependencies<T extends KubeObject> {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly index?: Index<T>;
  /** What is to be kept of an object; its metadata stays. */
  trim?(object: T): T;
  /** After the copy changed. `current` is undefined when the object is gone. */
  onChange?(current: T | undefined, previous: T | undefined): void;
  onError(error: unknown, retryAfterMs: number): void;
}

interface Page<T> {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items?: readonly T[];
}

interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T & StatusObject & { readonly code?: number };
}

const DEFAULTS = { pageSize: 500, watchSeconds: 300 };
const MIN_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 30_000;
/** On top of watchSeconds, for a server that is slow to end its watch. */
const WATCH_GRACE_MS = 15_000;

/** A watch that ends sooner counts as failed, so that a server that ends each is not hammered. */
const MIN_WATCH_MS = 1000;
/** Half a minute to a minute of failures that the server answers with: a list may tell more. */
const FAILURES_BEFORE_LIST = 8;

export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions & typeof DEFAULTS;
  readonly #deps: ReflectorDependencies<T>;
  readonly #objects = new Map<string, T>();
  readonly #indexed = new Map<string, Map<string, T>>();
  readonly #stop = new AbortController();
  #version: string | undefined;
  /** The same, also when the next thing is a list. */
  #newest: string | undefined;
  #failures = 0;
  /** Since something came of the newest list, those that the server has answered with. */
  #refusals = 0;
  #synced = Promise.withResolvers<void>();
  /** Ends the watch that runs. */
  #interrupt: AbortController | undefined;
  /** Ends the pause after a failure. */
  #wake: (() => void) | undefined;
  /** Of who wants the copy to be as the server has it now. */
  #awaiting: (() => void)[] = [];
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions, dependencies: ReflectorDependencies<T>) {
    this.#options = { ...DEFAULTS, ...options };
    this.#deps = dependencies;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Resolves when the first list is in the copy. */
  synced(): Promise<void> {
    return this.#synced.promise;
  }

  /**
   * Resolves when the copy is at least as new as what the server has now, by a list of its own: a
   * watch whose connection has died is found to be silent a minute later. Never once it was stopped.
   */
  refresh(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaiting.push(resolve);
    this.#interrupt?.abort(new Error('a list is wanted'));
    this.#wake?.();
    return promise;
  }

  /** `namespace/name`, or `name` of an object without namespace. */
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  list(): IterableIterator<T> {
    return this.#objects.values();
  }

  /** The objects that the index puts under this value. */
  indexed(value: string): Iterable<T> {
    return this.#indexed.get(value)?.values() ?? [];
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        while (this.#version === undefined || this.#awaiting.length > 0) await this.#list();
        const startedMs = this.#deps.clock.now();
        await this.#watch();
        if (this.#deps.clock.now() - startedMs < MIN_WATCH_MS) {
          throw new Error('the server ended the watch at once');
        }
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const isInterrupted = this.#interrupt?.signal.aborted;
        this.#interrupt = undefined;
        if (isInterrupted) continue;
        if (this.#needsList(error)) this.#version = undefined;
        const delayMs = this.#backoffMs();
        this.#failures += 1;
        this.#deps.onError(error, delayMs);
        await this.#sleep(delayMs);
      }
    }
  }

  /** A server that is not reached, or has too much to do, is not asked for more. */
  #needsList(error: unknown): boolean {
    if (isKubeError(error, 'Gone')) return true;
    if (!isKubeError(error, 'Unreachable', 'TooManyRequests')) this.#refusals += 1;
    return this.#refusals >= FAILURES_BEFORE_LIST;
  }

  async #list(): Promise<void> {
    const awaiting = this.#awaiting.splice(0);
    try {
      await this.#listAll();
    } catch (error) {
      this.#awaiting.unshift(...awaiting);
      throw error;
    }
    for (const resolve of awaiting) resolve();
  }

  async #listAll(): Promise<void> {
    const seen = new Map<string, T>();
    let next: string | undefined;
    let version: string;
    do {
      const page: Page<T> = await this.#deps.client.request({
        method: 'GET',
        path: this.#options.path,
        query: {
          limit: this.#options.pageSize,
          continue: next,
          labelSelector: this.#options.labelSelector,
        },
        signal: this.#stop.signal,
      });
      for (const item of page.items ?? []) seen.set(keyOf(item), this.#trim(item));
      next = page.metadata.continue || undefined;
      version = page.metadata.resourceVersion;
    } while (next !== undefined);
    // Where the server has gone back, other contents may have the version of those that are known.
    this.#replace(seen, isOlder(version, this.#newest));
    this.#version = version;
    this.#newest = version;
    this.#refusals = 0;
    this.#synced.resolve();
  }

  /** What vanished while nobody watched is reported as gone, too. */
  #replace(seen: ReadonlyMap<string, T>, all: boolean): void {
    for (const key of [...this.#objects.keys()]) {
      if (!seen.has(key)) this.#set(key, undefined);
    }
    for (const [key, object] of seen) {
      const known = this.#objects.get(key)?.metadata;
      const isNews = known?.resourceVersion !== object.metadata.resourceVersion;
      if (all || isNews) this.#set(key, object);
    }
  }

  async #watch(): Promise<void> {
    const { path, labelSelector, watchSeconds } = this.#options;
    this.#interrupt = new AbortController();
    const lines = this.#deps.client.lines({
      method: 'GET',
      path,
      query: {
        watch: true,
        allowWatchBookmarks: true,
        resourceVersion: this.#version,
        timeoutSeconds: watchSeconds,
        labelSelector,
      },
      idleTimeoutMs: watchSeconds * 1000 + WATCH_GRACE_MS,
      signal: AbortSignal.any([this.#stop.signal, this.#interrupt.signal]),
    });
    for await (const line of lines) this.#apply(JSON.parse(line) as WatchEvent<T>);
  }

  #apply(event: WatchEvent<T>): void {
    const { type, object } = event;
    if (type === 'ERROR') {
      const { code = 500, message = 'the watch failed' } = object;
      throw new KubeError(codeOf(code, object), code, message);
    }
    const { resourceVersion } = object.metadata;
    if (isOlder(resourceVersion, this.#version)) {
      const message = `the server has gone back from version ${this.#version} to ${resourceVersion}`;
      throw new KubeError('Gone', 0, message);
    }
    this.#version = resourceVersion;
    this.#newest = resourceVersion;
    this.#failures = 0;
    this.#refusals = 0;
    if (type === 'BOOKMARK') return;
    this.#set(keyOf(object), type === 'DELETED' ? undefined : this.#trim(object));
  }

  #trim(object: T): T {
    return this.#deps.trim?.(object) ?? object;
  }

  #set(key: string, current: T | undefined): void {
    const previous = this.#objects.get(key);
    if (current === undefined) this.#objects.delete(key);
    else this.#objects.set(key, current);
    this.#reindex(key, current, previous);
    if (current !== undefined || previous !== undefined) this.#deps.onChange?.(current, previous);
  }

  #reindex(key: string, current: T | undefined, previous: T | undefined): void {
    const { index } = this.#deps;
    if (index === undefined) return;
    const before = previous === undefined ? undefined : index(previous);
    const after = current === undefined ? undefined : index(current);
    if (before !== undefined) {
      const group = this.#indexed.get(before);
      group?.delete(key);
      if (group?.size === 0) this.#indexed.delete(before);
    }
    if (after === undefined || current === undefined) return;
    const group = this.#indexed.get(after) ?? new Map<string, T>();
    this.#indexed.set(after, group.set(key, current));
  }

  #backoffMs(): number {
    const full = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(this.#failures, 20));
    return full * (0.5 + this.#deps.random.next() / 2);
  }

  async #sleep(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = this.#deps.clock.setTimer(delayMs, resolve);
    const aborted = () => resolve();
    this.#stop.signal.addEventListener('abort', aborted, { once: true });
    await promise;
    this.#wake = undefined;
    timer.cancel();
    this.#stop.signal.removeEventListener('abort', aborted);
  }
}

/**
 * Versions of Kubernetes' own API servers, also of custom resources, are whole numbers of any length
 * that grow (KEP-5504). Of others nothing is known.
 */
function isOlder(version: string, than: string | undefined): boolean {
  const isNumber = (text: string) => /^[1-9][0-9]*$/.test(text);
  if (than === undefined || !isNumber(version) || !isNumber(than)) return false;
  return BigInt(version) < BigInt(than);
}

export function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}
