import { describe, expect, it } from 'vitest';
import { aProgress, aRecord, aReport } from '../testing/objects.ts';
import { aReadyReport, aStatusInput } from '../testing/statusInput.ts';
import { distributionStatus } from './distributionStatus.ts';

describe('the columns', () => {
  it('tell size, progress, share of peers, rate and time left', () => {
    const half = aReport('n2', {
      verifiedBytes: 500,
      rateBytesPerSecond: 50,
      received: { fromPeers: 250, fromRelays: 250, fromRelayHttp: 0, fromOrigin: 0 },
    });
    const progress = aProgress([aReadyReport('n1'), half], { originBytes: 1000 });
    const status = distributionStatus(aStatusInput({ progress }));
    expect(status.summary).toEqual({
      nodes: '1/2',
      size: '1000 B',
      progress: '75%',
      peers: '66%',
      rate: '50 B/s',
      eta: '10s',
    });
    expect(status.bytes).toEqual({
      total: 2000,
      delivered: 1500,
      perSecond: 50,
      fromPeers: 1000,
      fromRelays: 500,
      fromOrigin: 1000,
    });
  });

  it('tell the progress of a file of 0 bytes by its nodes', () => {
    const record = aRecord({ source: { sizeBytes: 0, validator: {}, ranges: false } });
    const progress = aProgress([aReport('n1', { state: 'ready' }), aReport('n2')]);
    const status = distributionStatus(aStatusInput({ record, progress }));
    expect(status.summary?.progress).toBe('50%');
  });
});
