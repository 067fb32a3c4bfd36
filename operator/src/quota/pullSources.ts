/** Where an epoch is taken from: its source, and mirrors of it. PURE: no time of its own. */
import type { LeasedDistribution, SourceFailure } from './leases.ts';

export interface PullSource {
  /** Undefined: the source itself. */
  readonly mirror: string | undefined;
  readonly url: string;
}

/** Of one that failed: so long others are asked before it, each time twice as long. */
const FIRST_REST_MS = 5_000;
const LONGEST_REST_MS = 120_000;

/** How the source and each mirror have done lately. */
export class SourceStandings {
  readonly #failures = new Map<
    string | undefined,
    { readonly failure: SourceFailure; readonly count: number; readonly untilMs: number }
  >();

  failed(mirror: string | undefined, failure: SourceFailure, nowMs: number): void {
    const count = (this.#failures.get(mirror)?.count ?? 0) + 1;
    const restMs = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** Math.min(count - 1, 10));
    this.#failures.set(mirror, { failure, count, untilMs: nowMs + restMs });
  }

  /** Bytes have come from it. */
  delivered(mirror: string | undefined): void {
    this.#failures.delete(mirror);
  }

  /** Of mirrors that are none any more nothing is remembered. */
  keepOnly(mirrors: readonly string[]): void {
    for (const mirror of this.#failures.keys()) {
      if (mirror !== undefined && !mirrors.includes(mirror)) this.#failures.delete(mirror);
    }
  }

  /** Why the last who took from it gave up; undefined: bytes have come since. */
  failureOf(mirror: string | undefined): SourceFailure | undefined {
    return this.#failures.get(mirror)?.failure;
  }

  isResting(mirror: string | undefined, nowMs: number): boolean {
    const untilMs = this.#failures.get(mirror)?.untilMs;
    return untilMs !== undefined && nowMs < untilMs;
  }
}

/**
 * Those that a holder which knows these mirrors is to take from, in this order: as they are listed,
 * those that failed a moment ago last.
 */
export function sourcesFor(
  { url, mirrors = [] }: Pick<LeasedDistribution, 'url' | 'mirrors'>,
  known: readonly string[],
  standings: SourceStandings,
  nowMs: number,
): PullSource[] {
  const all: PullSource[] = [
    { mirror: undefined, url },
    ...mirrors.flatMap(({ id, url: at }) => (known.includes(id) ? [{ mirror: id, url: at }] : [])),
  ];
  const isResting = ({ mirror }: PullSource) => standings.isResting(mirror, nowMs);
  return [...all.filter((each) => !isResting(each)), ...all.filter(isResting)];
}

/** What a lease was granted for; undefined: a mirror that is none any more. */
export function urlOfLease(
  { url, mirrors = [] }: Pick<LeasedDistribution, 'url' | 'mirrors'>,
  mirror: string | undefined,
): string | undefined {
  return mirror === undefined ? url : mirrors.find(({ id }) => id === mirror)?.url;
}
