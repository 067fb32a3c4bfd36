import type { Distribution } from '../../api/v1alpha1/distribution.ts';

/** Tells what comes back over the watch of our own writes of one status from what others change. */
export class OwnWrites {
  /** The resourceVersion that the last one has made. */
  #last: string | undefined;
  /** Versions that were heard of while a write is under way: whose they are its answer tells. */
  #unclear: string[] | undefined;

  begin(): void {
    this.#unclear = [];
  }

  /** `version`: undefined when it failed. True when another one's change was left for later. */
  end(version: string | undefined): boolean {
    const unclear = this.#unclear ?? [];
    this.#unclear = undefined;
    this.#last = version;
    return unclear.some((each) => each !== version);
  }

  /** Whether this need not be looked at, or not before the write under way has ended. */
  isEcho(current: Distribution | undefined, previous: Distribution | undefined): boolean {
    if (current === undefined || previous === undefined) return false;
    if (toldBesideStatus(current) !== toldBesideStatus(previous)) return false;
    const { resourceVersion } = current.metadata;
    if (resourceVersion === this.#last) return true;
    this.#unclear?.push(resourceVersion);
    return this.#unclear !== undefined;
  }
}

/** What an object says but for its status; a change of the spec raises the generation. */
function toldBesideStatus({ metadata }: Distribution): string {
  const { uid, generation, deletionTimestamp, finalizers, labels, annotations } = metadata;
  return JSON.stringify([uid, generation, deletionTimestamp, finalizers, labels, annotations]);
}
