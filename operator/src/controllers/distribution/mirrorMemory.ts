/** What is known of mirrors besides the record: those that failed, and those that are being asked. */
export class MirrorMemory {
  /** One after the other: an older state must not overtake a newer one. */
  saved: Promise<void> = Promise.resolve();
  readonly #asking = new Set<string>();
  readonly #failures = new Map<string, { message: string; count: number; nextTryMs: number }>();

  keepOnly(urls: readonly string[]): void {
    for (const url of this.#failures.keys()) if (!urls.includes(url)) this.#failures.delete(url);
  }

  nextTryMs(url: string): number {
    return this.#failures.get(url)?.nextTryMs ?? Number.NEGATIVE_INFINITY;
  }

  /** False: it is being asked already. */
  begin(url: string): boolean {
    return !this.#asking.has(url) && this.#asking.add(url).size > 0;
  }

  end(url: string): void {
    this.#asking.delete(url);
    this.#failures.delete(url);
  }

  fail(url: string, message: string, nextTryMs: (failures: number) => number): void {
    this.#asking.delete(url);
    const count = (this.#failures.get(url)?.count ?? 0) + 1;
    this.#failures.set(url, { message, count, nextTryMs: nextTryMs(count) });
  }

  problems(): ReadonlyMap<string, string> {
    return new Map([...this.#failures].map(([url, { message }]) => [url, message]));
  }
}
