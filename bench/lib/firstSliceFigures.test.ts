import { describe, expect, it } from 'vitest';
import { firstSliceFigures, type Run } from './firstSliceFigures.ts';

const RUN: Run = {
  nodes: 6,
  relays: 2,
  sizeBytes: 100,
  applySeconds: 12,
  seconds: 11,
  boundSeconds: 10,
  originBytes: 101,
  peakConnections: 4,
  maxWindowBytes: 10,
  limits: { maxConnections: 4, maxBandwidth: 10, maxTraffic: { bytes: 1000, period: '24h' } },
  fromPeersShare: 0.7,
  firstByteDelayMs: 50,
  wrongNodes: [],
  cpuBusyShare: 0.7,
};

describe('a run in which the processor was the limit', () => {
  const leftOut = 'the processor was the limit';

  it('does not count for the time', () => {
    const [time] = firstSliceFigures([RUN, { ...RUN, seconds: 90, leftOut }]);
    expect(time).toMatchObject({ median: 1.1, max: 1.1, holds: true });
  });

  it.each([
    [{ maxWindowBytes: 11 }, 'highest second at the origin / maxBandwidth'],
    [{ peakConnections: 5 }, 'highest number of connections / maxConnections'],
    [{ originBytes: 104 }, 'bytes from the origin'],
    [{ wrongNodes: ['node-1'] }, 'nodes with another SHA-256'],
  ])('must keep what is promised all the same: %j', (changed, name) => {
    const figures = firstSliceFigures([RUN, { ...RUN, ...changed, leftOut }]);
    const failed = figures.filter(({ holds }) => holds === false);
    expect(failed.map((figure) => figure.name)).toEqual([name]);
  });
});
