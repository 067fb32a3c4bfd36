/** Pods of the fleet whose image cannot be pulled, by where they should run. */
import { DOMAIN_LABEL } from '../controllers/fleet/manifests.ts';
import type { PodObject } from './callers.ts';

interface Trouble {
  readonly kind: string | undefined;
  readonly domain: string | undefined;
  readonly node: string | undefined;
  readonly message: string;
}

const NOT_PULLABLE: ReadonlySet<string> = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'ErrImageNeverPull',
]);
const COMPONENT_LABEL = 'app.kubernetes.io/component';
const MAX_CAUSE_CHARACTERS = 200;

export class ImageTroubles {
  /** By pod. */
  readonly #troubles = new Map<string, Trouble>();

  podChanged(pod: PodObject | undefined, previous: PodObject | undefined): void {
    const uid = (pod ?? previous)?.metadata.uid;
    if (uid === undefined) return;
    const trouble = pod === undefined ? undefined : troubleOf(pod);
    if (trouble === undefined) this.#troubles.delete(uid);
    else this.#troubles.set(uid, trouble);
  }

  relay(domain: string): string | undefined {
    return this.#find((trouble) => trouble.kind === 'relay' && trouble.domain === domain);
  }

  agent(node: string): string | undefined {
    return this.#find((trouble) => trouble.kind === 'agent' && trouble.node === node);
  }

  #find(is: (trouble: Trouble) => boolean): string | undefined {
    for (const trouble of this.#troubles.values()) if (is(trouble)) return trouble.message;
    return undefined;
  }
}

function troubleOf({ metadata, spec, status }: PodObject): Trouble | undefined {
  for (const { state, image } of status?.containerStatuses ?? []) {
    const { reason = '', message } = state?.waiting ?? {};
    if (!NOT_PULLABLE.has(reason)) continue;
    const cause = message === undefined ? reason : `${reason}, ${message}`;
    return {
      kind: metadata.labels?.[COMPONENT_LABEL],
      domain: metadata.labels?.[DOMAIN_LABEL],
      node: spec?.nodeName,
      message: `image '${image ?? ''}' cannot be pulled (${cause.slice(0, MAX_CAUSE_CHARACTERS)})`,
    };
  }
  return undefined;
}
