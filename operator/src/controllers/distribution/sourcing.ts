/**
 * Turns a source into an epoch: reads its credentials, says what its origin is asked, and keeps the
 * record of what it answers before anyone hears of it. What goes wrong is remembered with the time of the next try.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import type { Logger } from 'winston';
import type { Distribution, DistributionStatus } from '../../api/v1alpha1/distribution.ts';
import { keyOf } from '../../kube/reflector.ts';
import type { DistributionInput } from '../../policies/distribution.ts';
import { classifyError, requeueMs } from '../../policies/failures.ts';
import { isMadeFrom, namedFiles } from '../../policies/fileSet.ts';
import { isSameSource } from '../../policies/graves.ts';
import { databaseAway } from '../../policies/idleFailures.ts';
import type {
  Coordinator,
  EpochRecord,
  EpochStore,
  ResolvedSource,
  Troubles,
} from '../dataSide.ts';
import type { DistributionApi } from './api.ts';
import type { Answer, Question } from './asking.ts';
import { makeEpoch } from './epoch.ts';
import { type Memory, sourceKey } from './memory.ts';
import { resolveWithin } from './resolveTimeout.ts';

export interface SourcingDependencies {
  readonly api: Pick<DistributionApi, 'readCredentials'>;
  readonly coordinator: Pick<Coordinator, 'resolveSource'>;
  readonly epochs: Pick<EpochStore, 'save'>;
  readonly troubles: Troubles;
  readonly clock: Clock;
  readonly random: Random;
  /** RFC 3339, UTC. */
  wallTime(): string;
  readonly logger: Logger;
}

/** Why the epoch before ends, if not by an edit. */
export type EpochOver = Pick<DistributionInput, 'sourceChanged' | 'wrongMirrors'>;

export class Sourcing {
  readonly #deps: SourcingDependencies;

  constructor(dependencies: SourcingDependencies) {
    this.#deps = dependencies;
  }

  /**
   * What is sent to the origin with every request; undefined: a failure, which is remembered. The
   * last known ones stand when the Secret cannot be read now; it is read again when that is due.
   */
  async headers(
    distribution: Distribution,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    const { metadata, spec } = distribution;
    const secretName = spec.source.secretRef?.name;
    const nowMs = this.#deps.clock.now();
    const cached = memory.freshHeaders(secretName, nowMs);
    if (cached !== undefined) return cached;
    if (memory.lacksCredentials && nowMs < memory.nextTryMs) return memory.lastHeaders(secretName);
    try {
      const headers =
        secretName === undefined
          ? {}
          : await this.#deps.api.readCredentials(metadata.namespace, secretName, signal);
      memory.keepHeaders(secretName, headers, nowMs);
      return headers;
    } catch (error) {
      if (signal.aborted) throw error;
      this.failed(distribution, memory, error);
      memory.lacksCredentials = true;
      return memory.lastHeaders(secretName);
    }
  }

  /** What the origin is to be asked; undefined: a failure, which is remembered. */
  async question(
    distribution: Distribution,
    memory: Memory,
    signal: AbortSignal,
  ): Promise<Question | undefined> {
    const { clock, coordinator } = this.#deps;
    const { source } = distribution.spec;
    const headers = await this.headers(distribution, memory, signal);
    if (headers === undefined) return undefined;
    const { url } = source;
    const named = namedFiles(source);
    const isSet = named !== undefined;
    const request = { uid: memory.uid, url, headers, ...named };
    return {
      source: sourceKey(source),
      host: new URL(url).host,
      ask: (dropped) =>
        resolveWithin({ url, isSet, clock }, dropped, (within) =>
          coordinator.resolveSource(request, within),
        ),
    };
  }

  /** True when there is a new epoch. The record is durable before anyone hears of it. */
  async heard(
    distribution: Distribution,
    memory: Memory,
    over: EpochOver,
    answer: Answer,
  ): Promise<boolean> {
    try {
      if ('error' in answer) throw answer.error;
      await this.#begin(distribution, memory, answer.found, over);
      return true;
    } catch (error) {
      this.failed(distribution, memory, error);
      return false;
    }
  }

  failed(distribution: Distribution, memory: Memory, error: unknown): void {
    const { clock, logger, random, troubles, wallTime } = this.#deps;
    const known = error instanceof Error ? error : new Error(String(error));
    // Without a journal nobody is asked: that is not the origin's silence.
    const failure = troubles.isDatabaseAway() ? databaseAway() : classifyError(known);
    memory.fail(distribution.spec.source, failure, (failures) => {
      const nowMs = Date.parse(wallTime());
      return clock.now() + requeueMs(failure, failures, random.next(), nowMs);
    });
    const fields = { distribution: keyOf(distribution), reason: failure.reason };
    logger.info('source is not resolved', fields);
  }

  async #begin(
    distribution: Distribution,
    memory: Memory,
    source: ResolvedSource,
    { sourceChanged, wrongMirrors }: EpochOver,
  ): Promise<void> {
    const { clock, epochs, logger, random } = this.#deps;
    const { record: before } = memory;
    if (before !== undefined && isProvenBy(source, before, distribution.spec.source)) {
      const { unproven, ...proven } = before;
      await epochs.save(proven);
      memory.begin(proven, clock.now());
      return;
    }
    // What was told under a number stays: also where the database has forgotten it.
    const number = Math.max(before?.epoch ?? 0, distribution.status?.epoch?.number ?? 0) + 1;
    const identity = { uid: memory.uid, epoch: number };
    const made = makeEpoch(distribution, identity, source, this.#deps.wallTime());
    const isRestored = before === undefined && isOfSameBytes(distribution.status?.epoch, made);
    const record: EpochRecord = {
      ...withoutMirrors(made, before, distribution.spec.source, wrongMirrors),
      ...(isRestored && { isRestored }),
    };
    await epochs.save(record);
    memory.begin(record, clock.now());
    // An origin that alternates between versions must not make epochs without end.
    if (sourceChanged || wrongMirrors.length > 0) {
      const waitMs = requeueMs({ kind: 'retry' }, number, random.next(), 0);
      memory.askNotBefore(distribution.spec.source, clock.now() + waitMs);
    }
    logger.info('epoch begins', {
      distribution: keyOf(distribution),
      epoch: number,
      sizeBytes: source.sizeBytes,
    });
  }
}

/** Whether adopted files are what the source has: then their epoch goes on. */
function isProvenBy(
  source: ResolvedSource,
  record: EpochRecord,
  spec: Distribution['spec']['source'],
): boolean {
  return record.unproven === true && isMadeFrom(record, spec) && isSameSource(record, source);
}

/** Whether what was told last was a version like this one, which every file's digest tells apart. */
function isOfSameBytes(
  told: DistributionStatus['epoch'],
  { files, source: { sizeBytes, validator } }: EpochRecord,
): boolean {
  return (
    told?.sizeBytes === sizeBytes &&
    told.validator === (validator.etag ?? validator.lastModified) &&
    files.every((file) => file.sha256 !== undefined || file.sizeBytes === 0)
  );
}

/** Mirrors that were dropped stay so while the source is the same. */
function withoutMirrors(
  record: EpochRecord,
  before: EpochRecord | undefined,
  spec: Distribution['spec']['source'],
  wrong: readonly string[],
): EpochRecord {
  const earlier = before !== undefined && isMadeFrom(before, spec) ? before.droppedMirrors : [];
  const droppedMirrors = [...new Set([...(earlier ?? []), ...wrong])];
  return droppedMirrors.length === 0 ? record : { ...record, droppedMirrors };
}
