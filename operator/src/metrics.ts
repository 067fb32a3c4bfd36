/** The operator's own metrics. Labels are bounded: conditions, kinds and domains, never names. */
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Distribution } from './api/v1alpha1/distribution.ts';

export interface MetricsSources {
  distributions(): Iterable<Distribution>;
  isLeader(): boolean;
  queueDepth(): number;
}

/** Read when scraped, so that nothing has to be kept up to date. */
export function newMetrics(sources: MetricsSources): Registry {
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
  return registry;
}

function stateOf({ status }: Distribution): 'ready' | 'reconciling' | 'stalled' | 'other' {
  const isTrue = (type: string) =>
    status?.conditions?.some((condition) => condition.type === type && condition.status === 'True');
  if (isTrue('Stalled')) return 'stalled';
  if (isTrue('Reconciling')) return 'reconciling';
  return isTrue('Ready') ? 'ready' : 'other';
}
