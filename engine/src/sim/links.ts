import type { LinkRates } from './network.ts';

/** Bytes per second. */
export const MBIT = 125_000;

/** In Mbit/s. */
export function link(down: number, up = down): LinkRates {
  return { upRate: up * MBIT, downRate: down * MBIT };
}

export function times<T>(count: number, each: T): T[] {
  return Array.from({ length: count }, () => each);
}
