import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { aUsage } from '../testing/objects.ts';
import { newLeaseMetrics } from './leaseMetrics.ts';

function aRegistry(names: readonly string[]) {
  const registry = new Registry();
  const limits = { connections: 4, bandwidthBytesPerSecond: 2000, trafficBytes: undefined };
  const observe = newLeaseMetrics(registry, {
    origins: () => names,
    usage: (name) => (name === 'unknown' ? undefined : aUsage({ connections: 3, limits })),
    waiting: () => ({ pull: 2, topUp: 7 }),
  });
  return { observe, text: () => registry.metrics() };
}

describe('the metrics of leases', () => {
  it.each([
    [{ kind: 'granted', purpose: 'pull' }, 'sluice_lease_grants_total{purpose="pull"} 1'],
    [{ kind: 'renewed' }, 'sluice_lease_renewals_total 1'],
    [
      { kind: 'denied', reason: 'BandwidthInUse' },
      'sluice_lease_denials_total{reason="BandwidthInUse"} 1',
    ],
    [{ kind: 'settled', unusedBytes: 70 }, 'sluice_lease_overcharge_bytes_total 70'],
    [{ kind: 'closed', unprovenBytes: 80 }, 'sluice_lease_unproven_bytes_total 80'],
    [
      { kind: 'disagreed', reason: 'MetersApart' },
      'sluice_lease_meter_disagreements_total{reason="MetersApart"} 1',
    ],
    [{ kind: 'committed', ms: 7 }, 'sluice_journal_commit_seconds_bucket{le="0.01"} 1'],
  ] as const)('count %o', async (event, line) => {
    const { observe, text } = aRegistry([]);
    observe(event);
    expect((await text()).split('\n')).toContain(line);
  });

  it('show who waits, and what each Origin gives of what it allows', async () => {
    const lines = (await aRegistry(['cdn', 'unknown']).text()).split('\n');
    expect(lines).toContain('sluice_lease_holders_waiting{purpose="topUp"} 7');
    expect(lines).toContain('sluice_origin_connections{origin="cdn"} 3');
    expect(lines).toContain('sluice_origin_connections_limit{origin="cdn"} 4');
    expect(lines.filter((line) => line.includes('unknown'))).toEqual([]);
    // No limit of bytes is no number.
    expect(lines.filter((line) => line.startsWith('sluice_origin_traffic_limit'))).toEqual([]);
  });

  it('show no more Origins than there may be labels', async () => {
    const names = Array.from({ length: 300 }, (_, at) => `origin-${at}`);
    const lines = (await aRegistry(names).text()).split('\n');
    const shown = lines.filter((line) => line.startsWith('sluice_origin_connections{'));
    expect(shown).toHaveLength(256);
  });
});
