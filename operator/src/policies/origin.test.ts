import { describe, expect, it } from 'vitest';
import { anOrigin } from '../testing/objects.ts';
import { decideOrigins, originStatus } from './origin.ts';

function facts(...origins: ReturnType<typeof anOrigin>[]) {
  return origins.map(({ metadata, spec }) => ({
    name: metadata.name,
    uid: metadata.uid,
    createdAt: metadata.creationTimestamp,
    spec,
  }));
}

describe('the origins', () => {
  it('are handed on in bytes and seconds', () => {
    const origin = anOrigin(
      'cdn',
      {
        limits: {
          maxConnections: 4,
          maxBandwidth: '20Mi',
          maxTraffic: { bytes: '1Gi', period: '1h30m' },
        },
      },
      '2026-01-01T00:00:00Z',
    );
    expect(decideOrigins(facts(origin)).get('cdn')).toEqual({
      policy: {
        name: 'cdn',
        hosts: ['cdn.example.com'],
        limits: {
          maxConnections: 4,
          maxBandwidthBytesPerSecond: 20 * 2 ** 20,
          maxTraffic: { bytes: 2 ** 30, periodSeconds: 5400 },
        },
        closeAfterSeconds: 120,
        allowPrivateAddresses: false,
        allowAgentCredentials: false,
      },
      problem: undefined,
    });
  });

  it('give a host to the older of two, and say so on the younger', () => {
    const younger = anOrigin('b', { hosts: ['x.test', 'y.test'] }, '2026-01-02T00:00:00Z');
    const older = anOrigin('a', { hosts: ['x.test'] }, '2026-01-01T00:00:00Z');
    const verdicts = decideOrigins(facts(younger, older));
    expect(verdicts.get('a')?.policy?.hosts).toEqual(['x.test']);
    expect(verdicts.get('b')?.policy?.hosts).toEqual(['y.test']);
    expect(verdicts.get('b')?.problem?.reason).toBe('HostConflict');
    expect(verdicts.get('b')?.problem?.message).toContain("'x.test'");
  });

  it('show what is leased of what is allowed', () => {
    const origin = anOrigin('cdn', { limits: { maxConnections: 4, maxBandwidth: '1Mi' } }, 'now');
    const status = originStatus({
      generation: 1,
      previous: undefined,
      verdict: decideOrigins(facts(origin)).get('cdn')!,
      usage: { connections: 3, rateBytesPerSecond: 2 ** 19, trafficBytes: 2 ** 30 },
      now: '2026-01-01T00:00:00Z',
    });
    expect(status.summary).toEqual({
      connections: '3 of 4',
      bandwidth: '512 KiB/s of 1 MiB/s',
      traffic: '1 GiB',
    });
    expect(status.conditions?.[0]).toMatchObject({ type: 'Ready', status: 'True' });
  });
});
