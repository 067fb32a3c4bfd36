import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';

/** Undefined: there is nothing to pick from. */
export function pick<T>(from: readonly T[], random: SeededRandom): T | undefined {
  return from[random.below(from.length)];
}
