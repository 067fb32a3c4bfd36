/** What is remembered of all Distributions, by their keys and by the names of their data. */
import type { Memory } from './memory.ts';

export class Memories {
  readonly #byKey = new Map<string, Memory>();
  /** By the Distribution's uid, and by that of its data, which is another one once it has adopted. */
  readonly #keys = new Map<string, string>();

  of(key: string): Memory | undefined {
    return this.#byKey.get(key);
  }

  keyOf(uid: string): string | undefined {
    return this.#keys.get(uid);
  }

  add(key: string, memory: Memory): void {
    this.#byKey.set(key, memory);
    this.name(memory.owner, key);
    this.name(memory.uid, key);
  }

  /** Data that it adopts. */
  name(uid: string, key: string): void {
    this.#keys.set(uid, key);
  }

  forget(key: string, { owner, uid }: Memory): void {
    this.#byKey.delete(key);
    for (const name of [owner, uid]) {
      // Another one may have adopted it by now.
      if (this.#keys.get(name) === key) this.#keys.delete(name);
    }
  }
}
