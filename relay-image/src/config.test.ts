import { describe, expect, it } from 'vitest';
import { readConfig } from './config.ts';

const GOOD = { SLUICE_CONTROL_URL: 'https://sluice-control.sluice.svc:8443' };

describe("the relay's settings", () => {
  it('have defaults for everything but the control server', () => {
    expect(readConfig(GOOD)).toMatchObject({
      caFile: '/etc/sluice/ca/ca.crt',
      tokenFile: '/var/run/secrets/sluice/token',
      cacheFolder: '/var/cache/sluice',
      minFreePercent: 15,
      maxCacheBytes: 0,
      bitTorrentPort: 6881,
      httpPort: 8081,
      stockPort: undefined,
      healthPort: 8082,
      logLevel: 'info',
    });
  });

  it('let stock clients in where a port is named, and not at port 0', () => {
    expect(readConfig({ ...GOOD, SLUICE_STOCK_PORT: '6889' }).stockPort).toBe(6889);
    expect(readConfig({ ...GOOD, SLUICE_STOCK_PORT: '0' }).stockPort).toBeUndefined();
    expect(() => readConfig({ ...GOOD, SLUICE_STOCK_PORT: '70000' })).toThrow('SLUICE_STOCK_PORT');
  });

  it('are refused together, each with its name and a remedy', () => {
    const wrong = {
      SLUICE_CONTROL_URL: 'http://x',
      SLUICE_HTTP_PORT: '0',
      SLUICE_LOG_LEVEL: 'loud',
    };
    expect(() => readConfig(wrong)).toThrow(
      expect.objectContaining({
        code: 'InvalidConfiguration',
        message: expect.stringMatching(
          /SLUICE_CONTROL_URL is "http:\/\/x".*\n.*SLUICE_HTTP_PORT is "0".*\n.*SLUICE_LOG_LEVEL/,
        ),
      }),
    );
    expect(() => readConfig({})).toThrow('SLUICE_CONTROL_URL is missing');
  });
});
