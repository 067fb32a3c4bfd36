/** What a test did to a cluster that others use after it, by how it is undone. */

type Undo = () => Promise<unknown>;

export class Undoings {
  readonly #left: { readonly undo: Undo }[] = [];

  /** For the end; who calls the answer undoes it at once, and not again where that worked. */
  add(undo: Undo): () => Promise<void> {
    const own = { undo };
    this.#left.push(own);
    return async () => {
      await undo();
      const at = this.#left.indexOf(own);
      if (at >= 0) this.#left.splice(at, 1);
    };
  }

  /** The last one first, each whatever became of the others; throws what failed. */
  async all(): Promise<void> {
    const failed: unknown[] = [];
    for (let next = this.#left.pop(); next !== undefined; next = this.#left.pop()) {
      try {
        await next.undo();
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length > 0) throw new AggregateError(failed, 'not all was undone');
  }
}
