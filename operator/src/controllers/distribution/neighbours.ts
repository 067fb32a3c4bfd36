/**
 * Distributions of one namespace whose paths meet: the same, or one within the other. A namespace may
 * have a thousand, and each look at each of them asks.
 */
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import type { Reflector } from '../../kube/reflector.ts';
import type { Neighbour } from '../../policies/distribution.ts';

interface Index {
  readonly at: ReadonlyMap<string, readonly Neighbour[]>;
  readonly below: ReadonlyMap<string, readonly Neighbour[]>;
}

export class Neighbours {
  readonly #distributions: Pick<Reflector<Distribution>, 'indexed'>;
  readonly #byNamespace = new Map<string, Index>();

  constructor(distributions: Pick<Reflector<Distribution>, 'indexed'>) {
    this.#distributions = distributions;
  }

  changed(current: Distribution | undefined, previous: Distribution | undefined): void {
    const isSame =
      current?.metadata.uid === previous?.metadata.uid &&
      current?.spec.target.path === previous?.spec.target.path;
    const namespace = (current ?? previous)?.metadata.namespace;
    if (!isSame && namespace !== undefined) this.#byNamespace.delete(namespace);
  }

  /** Itself among them. */
  of({ metadata: { namespace }, spec }: Distribution): Neighbour[] {
    const { path } = spec.target;
    const { at, below } = this.#index(namespace);
    const around = foldersOf(path).flatMap((folder) => at.get(folder) ?? []);
    return [...(at.get(path) ?? []), ...around, ...(below.get(path) ?? [])];
  }

  #index(namespace: string): Index {
    const known = this.#byNamespace.get(namespace);
    if (known !== undefined) return known;
    const at = new Map<string, Neighbour[]>();
    const below = new Map<string, Neighbour[]>();
    for (const { metadata, spec } of this.#distributions.indexed(namespace)) {
      const { uid, name, creationTimestamp: createdAt } = metadata;
      const { path } = spec.target;
      const neighbour = { uid, name, path, createdAt };
      addTo(at, path, neighbour);
      for (const folder of foldersOf(path)) addTo(below, folder, neighbour);
    }
    const index = { at, below };
    this.#byNamespace.set(namespace, index);
    return index;
  }
}

/** Of `a/b/c` these are `a` and `a/b`. */
function foldersOf(path: string): string[] {
  const folders: string[] = [];
  for (let end = path.indexOf('/'); end !== -1; end = path.indexOf('/', end + 1)) {
    folders.push(path.slice(0, end));
  }
  return folders;
}

function addTo(lists: Map<string, Neighbour[]>, key: string, neighbour: Neighbour): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [neighbour]);
  else list.push(neighbour);
}
