/** Removes what strangers have put beside what is applied, but not without end. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Logger } from 'winston';
import { removeFields } from '../../kube/apply.ts';
import { isKubeError, type KubeClient } from '../../kube/client.ts';
import { fieldsThatStay, foreignFields, textAt } from '../../kube/foreignFields.ts';
import type { WorkloadObject } from '../../kube/objects.ts';
import type { Resource } from '../../kube/paths.ts';

export interface HealingDependencies {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface Healed {
  /** The object as it is then. */
  readonly object: WorkloadObject;
  /** It had changed meanwhile: what is in it is not known. */
  readonly isToTryAgain: boolean;
}

/** So often in so long a stranger's fields are removed from one object. */
const MAX_TRIES = 5;
const FIGHT_MS = 3_600_000;

export class Healing {
  readonly #deps: HealingDependencies;
  /** By name, since when how often something was removed. */
  readonly #heals = new Map<string, { readonly tries: number; readonly sinceMs: number }>();
  /** By name: what is there again at once, by pointer. Another value of it is not known to be so. */
  readonly #staying = new Map<string, ReadonlyMap<string, string>>();

  constructor(dependencies: HealingDependencies) {
    this.#deps = dependencies;
  }

  /** Not without end: somebody may write it again each time. */
  async heal(resource: Resource, object: WorkloadObject, signal: AbortSignal): Promise<Healed> {
    const { client, clock, logger } = this.#deps;
    const { metadata } = object;
    const { name } = metadata;
    const staying = this.#staying.get(name);
    const fields = foreignFields(object).filter((pointer) => {
      const stayed = staying?.get(pointer);
      return stayed === undefined || stayed !== textAt(object, pointer);
    });
    if (fields.length === 0) return { object, isToTryAgain: false };
    const nowMs = clock.now();
    const known = this.#heals.get(name);
    const isOld = known === undefined || nowMs - known.sinceMs >= FIGHT_MS;
    const { tries, sinceMs } = isOld ? { tries: 0, sinceMs: nowMs } : known;
    this.#heals.set(name, { tries: tries + 1, sinceMs });
    if (tries >= MAX_TRIES) {
      if (tries === MAX_TRIES) logger.warn('fields of strangers are left alone', { name, fields });
      return { object, isToTryAgain: false };
    }
    logger.warn('fields of strangers are removed', { kind: resource.kind, name, fields });
    try {
      const written = await removeFields<WorkloadObject>(
        client,
        resource,
        metadata,
        fields,
        signal,
      );
      const stay = fieldsThatStay(fields, written);
      if (stay.size > 0) this.#staying.set(name, new Map([...(staying ?? []), ...stay]));
      return { object: written, isToTryAgain: false };
    } catch (error) {
      // It has changed meanwhile, also by its status alone, or cannot be without them.
      if (!isKubeError(error, 'Invalid', 'NotFound')) throw error;
      return { object, isToTryAgain: true };
    }
  }

  /** It is gone. */
  forget(name: string): void {
    this.#heals.delete(name);
    this.#staying.delete(name);
  }
}
