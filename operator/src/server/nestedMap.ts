/**
 * Values by two keys, such as a distribution and a node of it: what is of one distribution is found,
 * and forgotten, without a look at the others.
 */
export class NestedMap<Inner, Value> {
  readonly #byOuter = new Map<string, Map<Inner, Value>>();
  #size = 0;

  /** Of all values. */
  get size(): number {
    return this.#size;
  }

  get(outer: string, inner: Inner): Value | undefined {
    return this.#byOuter.get(outer)?.get(inner);
  }

  of(outer: string): ReadonlyMap<Inner, Value> {
    return this.#byOuter.get(outer) ?? new Map();
  }

  set(outer: string, inner: Inner, value: Value): void {
    let values = this.#byOuter.get(outer);
    if (values === undefined) {
      values = new Map();
      this.#byOuter.set(outer, values);
    }
    if (!values.has(inner)) this.#size += 1;
    values.set(inner, value);
  }

  delete(outer: string, inner: Inner): void {
    const values = this.#byOuter.get(outer);
    if (values?.delete(inner) !== true) return;
    this.#size -= 1;
    if (values.size === 0) this.#byOuter.delete(outer);
  }

  deleteAll(outer: string): void {
    this.#size -= this.#byOuter.get(outer)?.size ?? 0;
    this.#byOuter.delete(outer);
  }

  clear(): void {
    this.#byOuter.clear();
    this.#size = 0;
  }

  /** What is deleted meanwhile does not come any more. */
  *values(): Generator<Value> {
    for (const values of this.#byOuter.values()) yield* values.values();
  }
}
