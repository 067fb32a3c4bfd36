import { periodEndAfter } from './ledger.ts';
import type { OriginBook } from './originBook.ts';

/** What is said when a period's traffic is used up. Wants a book with a limit of traffic. */
export function trafficExhausted({ host, ledger, limits }: OriginBook): {
  readonly message: string;
  /** Milliseconds since the Unix epoch. */
  readonly untilMs: number;
} {
  const { periodStartMs } = ledger;
  const { periodMs } = limits.traffic ?? {};
  const untilMs = periodMs === undefined ? periodStartMs : periodEndAfter(periodStartMs, periodMs);
  const until = new Date(untilMs).toISOString().replace('.000Z', 'Z');
  const message = `the bytes that may be taken from ${host} in this period are used up until ${until}`;
  return { message, untilMs };
}
