import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';

/** How often each may happen, when something could go wrong in that way. */
const CHANCES = {
  databaseRequestLost: 0.03,
  databaseAnswerLost: 0.03,
  databaseRequestLate: 0.03,
  leaderCrashesBeforeWrite: 0.003,
  leaderCrashesAfterWrite: 0.003,
  leaderCrashesBeforeBarrier: 0.03,
  leaderCrashesAfterBarrier: 0.03,
  leaderCrashesBeforeSnapshot: 0.03,
  leaderCrashesAfterSnapshot: 0.03,
  leaderCrashesBeforePrune: 0.15,
  leaderCrashesAmidPrune: 0.15,
  leaderCrashesAfterPrune: 0.15,
  pruneBreaksOff: 0.15,
  statusRequestLost: 0.03,
  statusRequestLate: 0.03,
  statusAnswerLost: 0.03,
  requestLost: 0.07,
  requestDoubled: 0.15,
  requestLate: 0.07,
  requestToAnother: 0.07,
  answerLost: 0.07,
  answerLate: 0.07,
  callLost: 0.1,
  callDoubled: 0.2,
  reportLost: 0.2,
  originStalls: 0.02,
  originFails: 0.01,
  originHangsUp: 0.01,
} as const;

export type ChanceFault = keyof typeof CHANCES;

/** What goes wrong, decided by the seed, and how often it did, by kind. */
export class Faults {
  readonly counts = new Map<string, number>();
  readonly #random: SeededRandom;
  /** In place of each chance so much of it. */
  readonly #share: number;
  #isOver = false;

  constructor(random: SeededRandom, share: number) {
    this.#random = random;
    this.#share = share;
  }

  /** Nothing goes wrong by chance any more. */
  end(): void {
    this.#isOver = true;
  }

  happens(kind: ChanceFault): boolean {
    if (this.#isOver || this.#random.next() >= CHANCES[kind] * this.#share) return false;
    this.count(kind);
    return true;
  }

  count(kind: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
  }

  get total(): number {
    let sum = 0;
    for (const count of this.counts.values()) sum += count;
    return sum;
  }
}
