import { describe, expect, it } from 'vitest';
import type { Delivery } from './delivery.ts';
import { renderTable, verdictOf } from './verdict.ts';

const MIB = 1024 * 1024;

const GOOD: Delivery = {
  nodes: 6,
  relays: 2,
  sizeBytes: 100 * MIB,
  applySeconds: 14,
  seconds: 12,
  boundSeconds: 10,
  originBytes: 101 * MIB,
  peakConnections: 4,
  maxWindowBytes: 8 * MIB,
  limits: {
    maxConnections: 4,
    maxBandwidth: 8 * MIB,
    maxTraffic: { bytes: 1000 * MIB, period: '24h' },
  },
  fromPeersShare: 0.7,
  firstByteDelayMs: 100,
  wrongNodes: [],
  cpuBusyShare: 0.5,
};

function failures(changed: Partial<Delivery>): string[] {
  return verdictOf({ ...GOOD, ...changed })
    .filter(({ holds }) => !holds)
    .map(({ what }) => what);
}

describe('the verdict', () => {
  it('of a delivery at its limits is that all holds', () => {
    expect(failures({})).toEqual([]);
  });

  it.each([
    [{ wrongNodes: ['node-3'] }, 'SHA-256 of the file on every node'],
    [{ seconds: 15.1 }, 'time of the last node / fluid bound'],
    [{ originBytes: 103.5 * MIB }, 'bytes from the origin, in copies'],
    [{ maxWindowBytes: 8 * MIB + 1 }, 'highest second at the origin'],
    [{ peakConnections: 5 }, 'connections at the origin'],
  ])('of %j names what does not hold', (changed, what) => {
    expect(failures(changed)).toEqual([what]);
    const table = renderTable(verdictOf({ ...GOOD, ...changed }), (text) => text);
    const failed = table.split('\n').filter((line) => line.endsWith('FAILS'));
    expect(failed).toHaveLength(1);
    expect(failed[0]).toContain(what);
  });

  it('holds the origin to all that it may give away', () => {
    const maxTraffic = { bytes: 100 * MIB, period: '24h' };
    expect(failures({ limits: { ...GOOD.limits, maxTraffic } })).toEqual([
      'bytes from the origin, all together',
    ]);
  });
});
