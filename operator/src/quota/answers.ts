/** Answers that may be asked for again: the same request, sent twice, is one. */
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';

/** Longer than any holder tries the same request. */
const KEPT_MS = 60_000;
const MAX_KEPT = 100_000;

export class Answers {
  readonly #kept = new Map<string, { atMs: number; answer: Promise<LeaseAnswer> }>();

  once(
    holder: string,
    { incarnation, sequence }: LeaseRequest,
    nowMs: number,
    act: () => Promise<LeaseAnswer>,
  ): Promise<LeaseAnswer> {
    const key = `${holder} ${incarnation} ${sequence}`;
    const known = this.#kept.get(key);
    if (known !== undefined) return known.answer;
    const answer = act();
    this.#kept.set(key, { atMs: nowMs, answer });
    this.#forget(nowMs);
    // A refusal is no decision: asked again it may be another.
    answer.catch(() => this.#kept.delete(key));
    return answer;
  }

  clear(): void {
    this.#kept.clear();
  }

  #forget(nowMs: number): void {
    for (const [key, { atMs }] of this.#kept) {
      if (nowMs - atMs < KEPT_MS && this.#kept.size <= MAX_KEPT) return;
      this.#kept.delete(key);
    }
  }
}
