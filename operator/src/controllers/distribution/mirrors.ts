/**
 * Asks mirrors what their files are, beside the reconciliation: a mirror that does not answer keeps
 * nobody waiting. What one says is kept with the epoch.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { classifyError, requeueMs } from '../../policies/failures.ts';
import { isMadeFrom } from '../../policies/fileSet.ts';
import { filesOf, headersFor, keptMirrors, mirrorProblem } from '../../policies/mirrors.ts';
import type { Coordinator, EpochMirror, EpochRecord, EpochStore } from '../dataSide.ts';
import type { Memory } from './memory.ts';
import { resolveWithin } from './resolveTimeout.ts';

export interface MirrorsDependencies {
  readonly coordinator: Pick<Coordinator, 'resolveSource' | 'progress'>;
  readonly epochs: Pick<EpochStore, 'saveMirrors'>;
  readonly clock: Clock;
  readonly random: Random;
  /** RFC 3339, UTC. */
  wallTime(): string;
  readonly logger: Logger;
  /** Something is known of a mirror that was not. */
  readonly changed: (key: string) => void;
}

class MirrorError extends Error {
  readonly code = 'BadAnswer';

  constructor(message: string) {
    super(message);
    this.name = 'MirrorError';
  }
}

export class Mirrors {
  readonly #deps: MirrorsDependencies;
  readonly #stop = new AbortController();
  readonly #asking = new Set<Promise<void>>();

  constructor(dependencies: MirrorsDependencies) {
    this.#deps = dependencies;
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopped'));
    await Promise.all(this.#asking);
  }

  /**
   * Begins to ask those of which nothing is known. Answers in what time one is due to be asked again;
   * undefined: none is.
   */
  look(
    key: string,
    { spec }: Distribution,
    memory: Memory,
    headers: Readonly<Record<string, string>>,
  ): number | undefined {
    const { record } = memory;
    if (record === undefined || !isMadeFrom(record, spec.source)) return undefined;
    const urls = spec.source.mirrors ?? [];
    memory.mirrors.keepOnly(urls);
    this.#forget(memory, record, urls);
    if (!record.source.ranges) return undefined;
    const nowMs = this.#deps.clock.now();
    const known = new Set(memory.record?.mirrors?.map(({ url }) => url));
    const dueInMs: number[] = [];
    for (const url of urls) {
      if (known.has(url) || record.droppedMirrors?.includes(url)) continue;
      const waitMs = memory.mirrors.nextTryMs(url) - nowMs;
      if (waitMs > 0) dueInMs.push(waitMs);
      else if (memory.mirrors.begin(url)) this.#ask(key, url, memory, record, headers);
    }
    return dueInMs.length === 0 ? undefined : Math.min(...dueInMs);
  }

  /** What the spec names no more, and what has other files than it had. */
  #forget(memory: Memory, record: EpochRecord, urls: readonly string[]): void {
    const failures = this.#deps.coordinator.progress(memory.uid)?.mirrorFailures;
    const kept = keptMirrors(urls, record);
    const mirrors = kept.mirrors.filter(({ url }) => {
      const failure = failures?.get(url);
      if (failure?.reason !== 'SourceChanged') return true;
      memory.mirrors.fail(url, failure.message, (count) => this.#retryAtMs('retry', count));
      return false;
    });
    const isSame =
      mirrors.length === (record.mirrors ?? []).length &&
      kept.droppedMirrors.length === (record.droppedMirrors ?? []).length;
    if (!isSame) this.#keep(memory, record.epoch, { ...kept, mirrors });
  }

  #ask(
    key: string,
    url: string,
    memory: Memory,
    record: EpochRecord,
    headers: Readonly<Record<string, string>>,
  ): void {
    const { mirrors: known } = memory;
    const asking = this.#find(url, record, headers)
      .then(
        (mirror) => {
          known.end(url);
          if (memory.record?.epoch !== record.epoch) return;
          const { mirrors = [], droppedMirrors = [] } = memory.record;
          this.#keep(memory, record.epoch, { mirrors: [...mirrors, mirror], droppedMirrors });
        },
        (error: Error) => {
          const { kind, message } = classifyError(error);
          known.fail(url, message, (count) => this.#retryAtMs(kind, count));
        },
      )
      .then(() => {
        if (!this.#stop.signal.aborted) this.#deps.changed(key);
      })
      .finally(() => this.#asking.delete(asking));
    this.#asking.add(asking);
  }

  async #find(
    url: string,
    { uid, files, url: source, filesFrom }: EpochRecord,
    headers: Readonly<Record<string, string>>,
  ): Promise<EpochMirror> {
    const { clock, coordinator } = this.#deps;
    const isSet = filesFrom !== undefined || source.endsWith('/');
    const named = isSet ? { files: files.map(({ path }) => ({ path })) } : {};
    const asked = { uid, url, headers: headersFor(url, source, headers), ...named };
    const found = await resolveWithin({ url, isSet, clock }, this.#stop.signal, (within) =>
      coordinator.resolveSource(asked, within),
    );
    const problem = mirrorProblem(url, { files }, found);
    if (problem !== undefined) throw new MirrorError(problem);
    const known = new Map(filesOf(files, found).map((file) => [file.path, file.validator]));
    return {
      id: createHash('sha256').update(url).digest('hex').slice(0, 16),
      url,
      validators: files.map(({ path }) => known.get(path) ?? {}),
    };
  }

  /** Counts at once; should it not be kept, the next leader asks again. */
  #keep(
    memory: Memory,
    epoch: number,
    mirrors: Required<Pick<EpochRecord, 'mirrors' | 'droppedMirrors'>>,
  ): void {
    const { epochs, logger } = this.#deps;
    const { uid } = memory;
    if (memory.record !== undefined) memory.record = { ...memory.record, ...mirrors };
    memory.mirrors.saved = memory.mirrors.saved
      .then(() => epochs.saveMirrors(uid, epoch, mirrors))
      .catch((error) => {
        logger.warn('mirrors are not kept', { uid, epoch, error });
      });
  }

  #retryAtMs(kind: Parameters<typeof requeueMs>[0]['kind'], count: number): number {
    const { clock, random, wallTime } = this.#deps;
    return clock.now() + requeueMs({ kind }, count, random.next(), Date.parse(wallTime()));
  }
}
