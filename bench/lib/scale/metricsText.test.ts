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
