import { describe, expect, it } from 'vitest';
import { readConfig } from './config.ts';

const GOOD = { SLUICE_CONTROL_URL: 'https://sluice-control.sluice.svc:8443' };

describe("the agent's settings", () => {
  it('have defaults for everything but the control server', () => {
    expect(readConfig(GOOD)).toMatchObject({ root: '/var/lib/sluice', minFreePercent: 15 });
  });

  it('take a part of the disk that must stay free, within reason', () => {
    expect(readConfig({ ...GOOD, SLUICE_MIN_FREE_PERCENT: '0' }).minFreePercent).toBe(0);
    expect(() => readConfig({ ...GOOD, SLUICE_MIN_FREE_PERCENT: '99' })).toThrow(
      'SLUICE_MIN_FREE_PERCENT is "99": set a whole number from 0 to 90',
    );
  });

  it('take shares of the disk by namespace', () => {
    const shares = (text: string) => readConfig({ ...GOOD, SLUICE_NAMESPACE_SHARES: text });
    expect(shares('*=50%,team=1000').namespaceShares.named.get('team')).toEqual({ bytes: 1000 });
    expect(readConfig(GOOD).namespaceShares.others).toEqual({ percent: 100 });
    expect(() => shares('team=10')).toThrow('SLUICE_NAMESPACE_SHARES is "team=10": set *=SHARE');
  });
});
