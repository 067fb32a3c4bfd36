import { describe, expect, it } from 'vitest';
import { parseConfig } from './config.ts';

const COMPLETE = {
  SLUICE_NAMESPACE: 'sluice-system',
  SLUICE_POD_NAME: 'sluice-operator-1',
  SLUICE_MONGODB_URI: 'mongodb://user:secret@db/sluice',
  SLUICE_RELAY_IMAGE: 'relay:1',
  SLUICE_AGENT_IMAGE: 'agent:1',
};

describe('the configuration', () => {
  it('has a default for what need not be given', () => {
    expect(parseConfig(COMPLETE)).toMatchObject({
      agentRoot: '/var/lib/sluice',
      controlPort: 8443,
      requireOrigin: false,
      workloads: { persistentVolumeClaims: true, nodeLabels: false },
      defaultLimits: { maxConnections: 8, maxBandwidthBytesPerSecond: 100 * 2 ** 20 },
    });
  });

  it('lets stock clients in at relays where a port is named that is free there', () => {
    const at = (port: string) => parseConfig({ ...COMPLETE, SLUICE_RELAY_STOCK_PORT: port });
    expect(parseConfig(COMPLETE).relayStockPort).toBe(0);
    expect(at('6889').relayStockPort).toBe(6889);
    for (const port of ['6881', '8081', '65536', 'x']) {
      expect(() => at(port)).toThrow(`SLUICE_RELAY_STOCK_PORT='${port}'`);
    }
  });

  it('bounds what Distributions may ask for of relays', () => {
    const bounds = (more: object) => parseConfig({ ...COMPLETE, ...more }).relayBounds;
    expect(bounds({})).toEqual({ maxRelays: 256, maxPerDomain: 64, topologyKeys: [] });
    const keys = 'topology.kubernetes.io/zone,rack';
    const set = { SLUICE_MAX_RELAYS: '3', SLUICE_MAX_RELAYS_PER_DOMAIN: '2' };
    expect(bounds({ ...set, SLUICE_TOPOLOGY_KEYS: keys })).toEqual({
      maxRelays: 3,
      maxPerDomain: 2,
      topologyKeys: ['topology.kubernetes.io/zone', 'rack'],
    });
    expect(() => bounds({ SLUICE_MAX_RELAYS: '0' })).toThrow("SLUICE_MAX_RELAYS='0'");
    for (const wrong of ['a,,b', 'a b', '/zone', 'zone,']) {
      expect(() => bounds({ SLUICE_TOPOLOGY_KEYS: wrong })).toThrow('write keys of labels');
    }
  });

  it('takes the part of the disk that must stay free, and no more than agents do', () => {
    const free = (percent: string) =>
      parseConfig({ ...COMPLETE, SLUICE_MIN_FREE_PERCENT: percent }).minFreePercent;
    expect(parseConfig(COMPLETE).minFreePercent).toBe(15);
    expect(['0', '5', '90'].map(free)).toEqual([0, 5, 90]);
    for (const percent of ['91', '-1', '2.5', '5%']) {
      expect(() => free(percent)).toThrow(
        `SLUICE_MIN_FREE_PERCENT='${percent}': write a whole number from 0 to 90`,
      );
    }
  });

  it('takes how often placed files are checked, and no other values than agents do', () => {
    const { checkSeconds, rehashSeconds } = parseConfig(COMPLETE);
    expect([checkSeconds, rehashSeconds]).toEqual([60, 604_800]);
    const set = { ...COMPLETE, SLUICE_CHECK_SECONDS: '5', SLUICE_REHASH_SECONDS: '3600' };
    expect(parseConfig(set)).toMatchObject({ checkSeconds: 5, rehashSeconds: 3600 });
    for (const [name, value] of [
      ['SLUICE_CHECK_SECONDS', '0'],
      ['SLUICE_CHECK_SECONDS', '86401'],
      ['SLUICE_REHASH_SECONDS', '31536001'],
    ] as const) {
      expect(() => parseConfig({ ...COMPLETE, [name]: value })).toThrow(`${name}='${value}'`);
    }
  });

  it('takes a rate for hosts that no Origin covers as an Origin does', () => {
    const rate = (text: string) =>
      parseConfig({ ...COMPLETE, SLUICE_DEFAULT_MAX_BANDWIDTH: text }).defaultLimits
        .maxBandwidthBytesPerSecond;
    expect(['1', '1Pi'].map(rate)).toEqual([1, 2 ** 50]);
    for (const text of ['0', '0.5', '2Pi', '16Pi', 'fast']) {
      expect(() => rate(text)).toThrow(
        `'${text}': write bytes per second as a quantity from 1 to 1Pi`,
      );
    }
  });

  it('takes an agent root that Kubernetes lets pods mount', () => {
    const at = (root: string) => parseConfig({ ...COMPLETE, SLUICE_AGENT_ROOT: root }).agentRoot;
    expect(['/a/.b', '/..a/b..'].map(at)).toEqual(['/a/.b', '/..a/b..']);
    for (const root of ['a', '/a/', '/..', '/a/../b', '/a/.']) {
      expect(() => at(root)).toThrow(`SLUICE_AGENT_ROOT='${root}': write an absolute path`);
    }
  });

  it('takes shares of the disk by namespace', () => {
    const shares = (text: string) =>
      parseConfig({ ...COMPLETE, SLUICE_NAMESPACE_SHARES: text }).namespaceShares;
    expect(parseConfig(COMPLETE).namespaceShares).toBe('*=100%');
    expect(shares('*=50%,team=1Ki')).toBe('*=50%,team=1024');
    expect(() => shares('team=lots')).toThrow("SLUICE_NAMESPACE_SHARES='team=lots': write *=SHARE");
  });

  it('takes what the cluster says of the pods that it makes', () => {
    const pod = (SLUICE_RELAY_POD: string) => parseConfig({ ...COMPLETE, SLUICE_RELAY_POD });
    expect(parseConfig(COMPLETE).agentPod.priorityClassName).toBe('system-node-critical');
    const { relayPod } = pod('{"nodeSelector":{"pool":"a"}}');
    expect(relayPod).toMatchObject({ nodeSelector: { pool: 'a' }, resources: expect.anything() });
    expect(() => pod('{"pool":"a"}')).toThrow('SLUICE_RELAY_POD=\'{"pool":"a"}\': write JSON of');
    expect(() => pod('{"cache":{"storageClassName":"fast"}}')).toThrow('needs a cache.size');
  });

  it('names every mistake at once', () => {
    const wrong = { ...COMPLETE, SLUICE_POD_NAME: '', SLUICE_CONTROL_PORT: '99999' };
    expect(() => parseConfig({ ...wrong, SLUICE_REQUIRE_ORIGIN: 'maybe' })).toThrow(
      /SLUICE_POD_NAME is not set[\s\S]*SLUICE_CONTROL_PORT='99999'[\s\S]*SLUICE_REQUIRE_ORIGIN='maybe'/,
    );
  });
});
