import type { Assignment } from '../store/assignments.ts';

type Key = Pick<Assignment, 'uid' | 'node'>;

/** Something of each node of each distribution; of one distribution it is forgotten at once. */
export class NodeRows<T> {
  readonly #byUid = new Map<string, Map<string, T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get({ uid, node }: Key): T | undefined {
    return this.#byUid.get(uid)?.get(node);
  }

  set({ uid, node }: Key, value: T): void {
    let nodes = this.#byUid.get(uid);
    if (nodes === undefined) {
      nodes = new Map();
      this.#byUid.set(uid, nodes);
    }
    if (!nodes.has(node)) this.#size += 1;
    nodes.set(node, value);
  }

  delete({ uid, node }: Key): void {
    const nodes = this.#byUid.get(uid);
    if (nodes?.delete(node) !== true) return;
    this.#size -= 1;
    if (nodes.size === 0) this.#byUid.delete(uid);
  }

  deleteAll(uid: string): void {
    this.#size -= this.#byUid.get(uid)?.size ?? 0;
    this.#byUid.delete(uid);
  }

  values(): T[] {
    return [...this.#byUid.values()].flatMap((nodes) => [...nodes.values()]);
  }
}
