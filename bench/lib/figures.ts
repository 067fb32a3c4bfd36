/** Figures of a benchmark: many measured values become one judgement. PURE. */

/** What must never happen is judged by every run, speed by the median one. */
export type Goal = { readonly judgedBy: 'median' | 'everyRun' } & (
  | { readonly atMost: number }
  | { readonly atLeast: number }
  | { readonly exactly: number }
);

export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Absent: only told. */
  readonly goal?: string;
  readonly holds?: boolean;
}

export function figureOf(
  name: string,
  unit: string,
  values: readonly number[],
  goal?: Goal,
): Figure {
  if (values.length === 0) throw new Error(`${name}: nothing was measured`);
  const spread = { median: median(values), min: Math.min(...values), max: Math.max(...values) };
  const figure = { name, unit, ...mapValues(spread, rounded) };
  if (goal === undefined) return figure;
  const by = goal.judgedBy === 'median' ? 'the median' : 'every run';
  // Judged before rounding: 1.0000001 of a limit is over it.
  if ('atMost' in goal) {
    const judged = goal.judgedBy === 'median' ? spread.median : spread.max;
    return { ...figure, goal: `${by} <= ${goal.atMost}`, holds: judged <= goal.atMost };
  }
  if ('exactly' in goal) {
    const judged = goal.judgedBy === 'median' ? [spread.median] : values;
    const holds = judged.every((value) => value === goal.exactly);
    return { ...figure, goal: `${by} = ${goal.exactly}`, holds };
  }
  const judged = goal.judgedBy === 'median' ? spread.median : spread.min;
  return { ...figure, goal: `${by} >= ${goal.atLeast}`, holds: judged >= goal.atLeast };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** Of values in ascending order: the smallest that so large a share of them is not above. */
export function percentile(ascending: readonly number[], share: number): number {
  const at = Math.ceil(share * ascending.length) - 1;
  return ascending[Math.max(0, at)] ?? 0;
}

/** A line for people. */
export function figureLine({ name, unit, median, min, max, goal, holds }: Figure): string {
  const spread = `${median} ${unit} (${min} to ${max})`.replaceAll('  ', ' ');
  const verdict = goal === undefined ? '' : `   ${goal}: ${holds ? 'holds' : 'FAILS'}`;
  return `${name.padEnd(52)} ${spread}${verdict}`;
}

function mapValues<K extends string>(
  values: Record<K, number>,
  map: (value: number) => number,
): Record<K, number> {
  const entries = Object.entries(values) as [K, number][];
  return Object.fromEntries(entries.map(([key, value]) => [key, map(value)])) as Record<K, number>;
}

/** Four digits are more than a repetition gives again. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
