import { describe, expect, it } from 'vitest';
import { anOrigin } from '../testing/objects.ts';
import { decideOrigins } from './origin.ts';

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
    expect(decideOrigins(facts(origin), []).get('cdn')).toEqual({
      policy: {
        name: 'cdn',
        hosts: ['cdn.example.com'],
        limits: {
          maxConnections: 4,
          maxBandwidthBytesPerSecond: 20 * 2 ** 20,
          maxTraffic: { bytes: 2 ** 30, periodSeconds: 5400 },
        },
        schedule: [],
        closeAfterSeconds: 120,
        maxPriority: 100,
        allowPrivateAddresses: false,
        allowAgentCredentials: false,
      },
      problem: undefined,
      shared: undefined,
    });
  });

  it('give a host to the older of two, and say so on both', () => {
    const younger = anOrigin('b', { hosts: ['x.test', 'y.test'] }, '2026-01-02T00:00:00Z');
    const older = anOrigin('a', { hosts: ['x.test'] }, '2026-01-01T00:00:00Z');
    const verdicts = decideOrigins(facts(younger, older), []);
    expect(verdicts.get('a')?.policy?.hosts).toEqual(['x.test']);
    expect(verdicts.get('b')?.policy?.hosts).toEqual(['y.test']);
    expect(verdicts.get('b')?.problem?.reason).toBe('HostConflict');
    expect(verdicts.get('b')?.problem?.message).toContain("'x.test'");
    expect(verdicts.get('b')?.shared).toEqual(verdicts.get('b')?.problem);
    // Its limits hold: nothing is wrong with it, but it is to be seen there, too.
    expect(verdicts.get('a')?.problem).toBeUndefined();
    expect(verdicts.get('a')?.shared).toEqual({
      reason: 'HostNamedTwice',
      message:
        "spec.hosts: 'x.test' is named by the younger Origin 'b', too; remove it from one of them (this one's limits hold)",
    });
  });

  it('tell hosts and prefixes of their paths apart, written in any way', () => {
    const origins = [
      anOrigin('a', { hosts: ['x.test/a/', 'x.test'] }, '2026-01-01T00:00:00Z'),
      anOrigin('b', { hosts: ['x.test/a', 'x.test/a/b'] }, '2026-01-02T00:00:00Z'),
    ];
    const verdicts = decideOrigins(facts(...origins), []);
    expect(verdicts.get('a')?.policy?.hosts).toEqual(['x.test/a', 'x.test']);
    expect(verdicts.get('b')?.policy?.hosts).toEqual(['x.test/a/b']);
    expect(verdicts.get('b')?.problem?.message).toContain(
      "'x.test/a' belongs to the older Origin 'a'",
    );
  });

  it('have windows with limits of their own', () => {
    const window = { days: ['Mon', 'Sun'], from: '22:30', to: '24:00', timeZone: 'Europe/Berlin' };
    const schedule = [{ ...window, limits: { maxConnections: 2, maxBandwidth: '1Mi' } }];
    const origin = anOrigin('cdn', { schedule } as object, '2026-01-01T00:00:00Z');
    expect(decideOrigins(facts(origin), []).get('cdn')).toMatchObject({
      policy: {
        schedule: [
          {
            days: [1, 0],
            from: 1350,
            to: 1440,
            timeZone: 'Europe/Berlin',
            limits: { maxConnections: 2, maxBandwidthBytesPerSecond: 2 ** 20 },
          },
        ],
      },
      problem: undefined,
    });
  });

  it('say which window names no time zone, and how to mend it', () => {
    const window = { days: ['Mon'], from: '22:30', to: '24:00', limits: { maxConnections: 2 } };
    const schedule = ['UTC', 'Europe/Berln'].map((timeZone) => ({ ...window, timeZone }));
    const origin = anOrigin('cdn', { schedule } as object, '2026-01-01T00:00:00Z');
    const verdict = decideOrigins(facts(origin), []).get('cdn');
    expect(verdict?.problem?.reason).toBe('InvalidSchedule');
    expect(verdict?.problem?.message).toMatch(
      /^spec\.schedule\[1\]\.timeZone: 'Europe\/Berln' is not a time zone.*write a name/,
    );
    expect(verdict?.policy?.schedule?.[1]?.timeZone).toBeUndefined();
  });

  it('are for the namespaces that have all the labels', () => {
    const allowedNamespaces = { from: 'Selector' as const, matchLabels: { team: 'ml', tier: 'a' } };
    const origin = anOrigin('cdn', { allowedNamespaces }, '2026-01-01T00:00:00Z');
    const namespaces = [
      { name: 'web', labels: { team: 'web', tier: 'a' } },
      { name: 'ml', labels: { team: 'ml', tier: 'a', more: 'x' } },
      { name: 'ml-test', labels: { team: 'ml' } },
    ];
    const policy = decideOrigins(facts(origin), namespaces).get('cdn')?.policy;
    expect(policy?.namespaces).toEqual(['ml']);
  });
});
