/** The operator's own metrics. Labels are bounded: conditions, kinds and domains, never names. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Distribution } from './api/v1alpha1/distribution.ts';

export interface MetricsSources {
  distributions(): Iterable<Distribution>;
  isLeader(): boolean;
  queueDepth(): number;
}

export interface Metrics {
  readonly registry: Registry;
  kubeRequest(method: string, path: string): void;
  reconciled(latencyMs: number): void;
}

/** From a copy in memory to a thousand Distributions that are due at once, of origins that take their time. */
const LATENCY_BUCKETS = [
  ...[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
  ...[1, 2, 5, 10, 30, 60, 120, 300, 600],
];

/** Gauges are read when scraped, so that nothing has to be kept up to date. */
export function newMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'sluice_operator_' });
  new Gauge({
    name: 'sluice_operator_leader',
    help: '1 while this replica leads.',
    registers: [registry],
    collect() {
      this.set(sources.isLeader() ? 1 : 0);
    },
  });
  new Gauge({
    name: 'sluice_operator_queue_depth',
    help: 'Distributions that wait to be reconciled.',
    registers: [registry],
    collect() {
      this.set(sources.queueDepth());
    },
  });
  new Gauge({
    name: 'sluice_distributions',
    help: 'Distributions by state: ready, reconciling, stalled or other.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      const counts = { ready: 0, reconciling: 0, stalled: 0, other: 0 };
      for (const distribution of sources.distributions()) counts[stateOf(distribution)] += 1;
      for (const [state, count] of Object.entries(counts)) this.set({ state }, count);
    },
  });
  const requests = new Counter({
    name: 'sluice_operator_kube_requests_total',
    help: 'Requests to the Kubernetes API by method and resource, subresources apart.',
    labelNames: ['method', 'resource'],
    registers: [registry],
  });
  const latency = new Histogram({
    name: 'sluice_operator_reconcile_seconds',
    help: 'From when a Distribution was due to when its reconciliation had ended.',
    buckets: LATENCY_BUCKETS,
    registers: [registry],
  });
  return {
    registry,
    kubeRequest: (method, path) => requests.inc({ method, resource: resourceOf(path) }),
    reconciled: (latencyMs) => latency.observe(latencyMs / 1000),
  };
}

/**
 * `/apis/sluice.dev/v1alpha1/namespaces/ml/distributions/llama/status` is `distributions/status`:
 * names are no labels.
 */
export function resourceOf(path: string): string {
  const [, base = '', ...rest] = path.split('/');
  const inGroup = rest.slice(base === 'apis' ? 2 : 1);
  const isNamespaced = inGroup[0] === 'namespaces' && inGroup.length > 2;
  const [resource = '', , subresource] = isNamespaced ? inGroup.slice(2) : inGroup;
  return subresource === undefined ? resource : `${resource}/${subresource}`;
}

function stateOf({ status }: Distribution): 'ready' | 'reconciling' | 'stalled' | 'other' {
  const isTrue = (type: string) =>
    status?.conditions?.some((condition) => condition.type === type && condition.status === 'True');
  if (isTrue('Stalled')) return 'stalled';
  if (isTrue('Reconciling')) return 'reconciling';
  return isTrue('Ready') ? 'ready' : 'other';
}
