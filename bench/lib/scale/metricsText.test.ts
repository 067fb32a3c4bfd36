import { newMetrics } from '@sluice/operator/metrics.ts';
import { expect, it } from 'vitest';
import { histogramOf, quantileBetween, sumOf, valuesOf } from './metricsText.ts';

const TEXT = `
# HELP requests_total help
requests_total{method="GET",resource="nodes"} 2
requests_total{method="PATCH",resource="distributions/status"} 5
latency_bucket{le="0.1"} 4
latency_bucket{le="1"} 9
latency_bucket{le="+Inf"} 10
leader 1
`;

it('sums, values and quantiles are read from the text of metrics', () => {
  expect(sumOf(TEXT, 'leader', {})).toBe(1);
  expect(sumOf(TEXT, 'requests_total', { method: 'GET' })).toBe(2);
  expect(valuesOf(TEXT, 'requests_total', ['method', 'resource'])).toEqual({
    'GET nodes': 2,
    'PATCH distributions/status': 5,
  });
  const after = histogramOf(TEXT, 'latency');
  const nothing = { bounds: after.bounds, counts: [0, 0, 0] };
  expect(quantileBetween(nothing, after, 0.4)).toBe(0.1);
  expect(quantileBetween(nothing, after, 0.5)).toBe(1);
  expect(quantileBetween(nothing, after, 0.99)).toBe(Infinity);
  expect(quantileBetween(after, after, 0.5)).toBe(0);
});

it('reconciliations that take minutes have a quantile, too', async () => {
  const metrics = newMetrics({
    distributions: () => [],
    isLeader: () => true,
    queueDepth: () => 0,
  });
  const read = async () =>
    histogramOf(await metrics.registry.metrics(), 'sluice_operator_reconcile_seconds');
  const before = await read();
  for (const seconds of [2, 45, 100, 250, 599]) metrics.reconciled(seconds * 1000);
  const after = await read();
  const shares = [0.2, 0.4, 0.6, 0.8, 0.99];
  expect(shares.map((share) => quantileBetween(before, after, share))).toEqual([
    2, 60, 120, 300, 600,
  ]);
});
