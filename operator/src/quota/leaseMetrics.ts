/**
 * What leases do, for Prometheus. Labels are bounded: reasons and purposes are lists of ours, and
 * of the Origins the first MAX_ORIGINS by name are shown.
 */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { OriginUsage } from '../controllers/dataSide.ts';
import type { LeaseObserver } from './leaseEvents.ts';

export interface LeaseMetricsSources {
  /** Names of those whose limits are in force. */
  origins(): readonly string[];
  usage(originName: string): OriginUsage | undefined;
  waiting(): Readonly<Record<string, number>>;
}

const MAX_ORIGINS = 256;

/** Registers all of them; what it returns is to be told of each event. */
export function newLeaseMetrics(registry: Registry, sources: LeaseMetricsSources): LeaseObserver {
  const registers = [registry];
  const grants = new Counter({
    name: 'sluice_lease_grants_total',
    help: 'Leases granted, by purpose: pull, topUp or operator.',
    labelNames: ['purpose'],
    registers,
  });
  const renewals = new Counter({
    name: 'sluice_lease_renewals_total',
    help: 'Leases renewed.',
    registers,
  });
  const denials = new Counter({
    name: 'sluice_lease_denials_total',
    help: 'Requests for a lease or its renewal that were told to wait or that it is gone, by reason.',
    labelNames: ['reason'],
    registers,
  });
  const unused = new Counter({
    name: 'sluice_lease_overcharge_bytes_total',
    help: 'Bytes that were granted, and charged, and were then proven not to have been taken.',
    registers,
  });
  const unproven = new Counter({
    name: 'sluice_lease_unproven_bytes_total',
    help: 'Bytes that stay charged though nobody has said that they were taken: their holder was lost.',
    registers,
  });
  const disagreements = new Counter({
    name: 'sluice_lease_meter_disagreements_total',
    help: 'Reports of holders about a lease that contradict themselves, or the lease, by reason.',
    labelNames: ['reason'],
    registers,
  });
  const commits = new Histogram({
    name: 'sluice_journal_commit_seconds',
    help: 'From a decision about leases until it is durable in the journal.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers,
  });
  new Gauge({
    name: 'sluice_lease_holders_waiting',
    help: 'Processes that wait because of a limit, by purpose.',
    labelNames: ['purpose'],
    registers,
    collect() {
      for (const [purpose, count] of Object.entries(sources.waiting())) {
        this.set({ purpose }, count);
      }
    },
  });
  measureOrigins(registry, sources);
  return (event) => {
    switch (event.kind) {
      case 'granted':
        return grants.inc({ purpose: event.purpose });
      case 'renewed':
        return renewals.inc();
      case 'denied':
        return denials.inc({ reason: event.reason });
      case 'settled':
        return unused.inc(event.unusedBytes);
      case 'closed':
        return unproven.inc(event.unprovenBytes);
      case 'disagreed':
        return disagreements.inc({ reason: event.reason });
      case 'committed':
        return commits.observe(event.ms / 1000);
    }
  };
}

const ORIGIN_GAUGES: readonly {
  readonly name: string;
  readonly help: string;
  readonly value: (usage: OriginUsage) => number | undefined;
}[] = [
  {
    name: 'sluice_origin_connections',
    help: 'Connections that count against the limit.',
    value: ({ connections }) => connections,
  },
  {
    name: 'sluice_origin_connections_limit',
    help: 'maxConnections in force.',
    value: ({ limits }) => limits.connections,
  },
  {
    name: 'sluice_origin_window_bytes',
    help: 'The most that the origin may send in one second under what is leased: rates and slack.',
    value: ({ windowBytes }) => windowBytes,
  },
  {
    name: 'sluice_origin_bandwidth_limit_bytes_per_second',
    help: 'maxBandwidth in force.',
    value: ({ limits }) => limits.bandwidthBytesPerSecond,
  },
  {
    name: 'sluice_origin_traffic_bytes',
    help: 'Bytes charged in this period, what open leases may still take included.',
    value: ({ chargedBytes }) => chargedBytes,
  },
  {
    name: 'sluice_origin_traffic_limit_bytes',
    help: 'maxTraffic of the period; absent without such a limit.',
    value: ({ limits }) => limits.trafficBytes,
  },
  {
    name: 'sluice_origin_distributions_held_back',
    help: 'Distributions that get less than they want because of a limit.',
    value: ({ heldBack }) => heldBack.length,
  },
];

function measureOrigins(registry: Registry, sources: LeaseMetricsSources): void {
  for (const { name, help, value } of ORIGIN_GAUGES) {
    new Gauge({
      name,
      help,
      labelNames: ['origin'],
      registers: [registry],
      collect() {
        this.reset();
        for (const origin of [...sources.origins()].sort().slice(0, MAX_ORIGINS)) {
          const usage = sources.usage(origin);
          const now = usage && value(usage);
          if (now !== undefined) this.set({ origin }, now);
        }
      },
    });
  }
}
