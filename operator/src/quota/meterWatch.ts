/** Holders whose meters disagreed lately, by the journal that their lease was in. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { MeterDisagreement } from '../controllers/dataSide.ts';
import type { OriginBook } from './originBook.ts';

/** Long enough for a person to see it, who was not looking when it happened. */
export const SHOWN_MS = 3_600_000;
/** Of one journal: more of them have one cause. */
const MAX_HOLDERS = 64;

type Journal = Pick<OriginBook, 'host'>;

export class MeterWatch {
  readonly #clock: Clock;
  /** By name of the journal, and in it by holder: the latest last. */
  readonly #seen = new Map<string, Map<string, MeterDisagreement>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  clear(): void {
    this.#seen.clear();
  }

  note({ host }: Journal, found: Omit<MeterDisagreement, 'atMs'>): void {
    const seen = this.#seen.get(host) ?? new Map<string, MeterDisagreement>();
    this.#seen.set(host, seen);
    seen.delete(found.holder);
    seen.set(found.holder, { ...found, atMs: this.#clock.now() });
    for (const oldest of seen.keys()) {
      if (seen.size <= MAX_HOLDERS) break;
      seen.delete(oldest);
    }
  }

  /** The latest first; one for each holder. */
  lately(journals: readonly Journal[]): MeterDisagreement[] {
    const fromMs = this.#clock.now() - SHOWN_MS;
    const all = journals.flatMap(({ host }) => [...(this.#seen.get(host)?.values() ?? [])]);
    const latest = new Map<string, MeterDisagreement>();
    for (const each of all.sort((a, b) => b.atMs - a.atMs)) {
      if (each.atMs > fromMs && !latest.has(each.holder)) latest.set(each.holder, each);
    }
    return [...latest.values()];
  }
}
