/** Reads numbers out of Prometheus' text format. PURE. */

/** Cumulative counts by upper bound; the last bound is infinite. */
export interface Histogram {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

type Labels = Readonly<Record<string, string>>;

function* linesOf(text: string, name: string): Generator<{ labels: Labels; value: number }> {
  for (const line of text.split('\n')) {
    const match = /^([a-zA-Z_:]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null || match[1] !== name) continue;
    const pairs = [...(match[2] ?? '').matchAll(/([a-zA-Z_]+)="([^"]*)"/g)];
    const labels = Object.fromEntries(pairs.map(([, key, value]) => [key, value]));
    yield { labels, value: Number(match[3]) };
  }
}

/** Over all series that have these labels. */
export function sumOf(text: string, name: string, wanted: Labels): number {
  let sum = 0;
  for (const { labels, value } of linesOf(text, name)) {
    if (Object.entries(wanted).every(([key, text]) => labels[key] === text)) sum += value;
  }
  return sum;
}

/** By the values of these labels, joined by a space. */
export function valuesOf(
  text: string,
  name: string,
  by: readonly string[],
): Readonly<Record<string, number>> {
  const lines = [...linesOf(text, name)];
  return Object.fromEntries(
    lines.map(({ labels, value }) => [by.map((key) => labels[key]).join(' '), value]),
  );
}

export function histogramOf(text: string, name: string): Histogram {
  const lines = [...linesOf(text, `${name}_bucket`)];
  return {
    bounds: lines.map(({ labels }) => (labels.le === '+Inf' ? Infinity : Number(labels.le))),
    counts: lines.map(({ value }) => value),
  };
}

/** The bound under which this share of what came between two readings is; 0 when nothing came. */
export function quantileBetween(before: Histogram, after: Histogram, share: number): number {
  const counts = after.counts.map((count, at) => count - (before.counts[at] ?? 0));
  const total = counts.at(-1) ?? 0;
  const at = counts.findIndex((count) => count >= total * share);
  return total === 0 ? 0 : (after.bounds[at] ?? Infinity);
}
