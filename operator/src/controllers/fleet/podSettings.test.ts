import { describe, expect, it } from 'vitest';
import {
  AgentPod,
  cacheVolume,
  DEFAULT_AGENT_POD,
  isCacheComplete,
  parsePod,
  placing,
  podAnnotations,
  RelayPod,
  relayResources,
} from './podSettings.ts';

describe('what a cluster says of the pods', () => {
  it('is refused where it is no JSON, or of another pod', () => {
    const pod = { nodeSelector: { pool: 'a' }, tolerations: [{ key: 'gpu', operator: 'Exists' }] };
    expect(parsePod(AgentPod, JSON.stringify(pod), {})).toEqual(pod);
    for (const text of ['{', '[]', '{"tolerations":{}}', '{"cache":{}}', '{"nodeSelectors":{}}']) {
      expect(parsePod(AgentPod, text, {}), text).toBeUndefined();
    }
    expect(parsePod(RelayPod, '{"cache":{"size":"1Gi"}}', {})).toEqual({ cache: { size: '1Gi' } });
    // As a chart from before says nothing of them.
    expect(parsePod(AgentPod, '{"tolerations":[]}', DEFAULT_AGENT_POD)).toEqual({
      ...DEFAULT_AGENT_POD,
      tolerations: [],
    });
  });

  it('places them, on Linux always', () => {
    expect(placing({})).toEqual({ nodeSelector: { 'kubernetes.io/os': 'linux' } });
    expect(placing({ ...DEFAULT_AGENT_POD, nodeSelector: { pool: 'a' } })).toEqual({
      nodeSelector: { 'kubernetes.io/os': 'linux', pool: 'a' },
      tolerations: [{ operator: 'Exists' }],
      priorityClassName: 'system-node-critical',
    });
    expect(placing({ priorityClassName: '' })).not.toHaveProperty('priorityClassName');
  });

  it('says where their metrics are', () => {
    expect(
      podAnnotations({ podAnnotations: { 'prometheus.io/scrape': 'false', a: 'b' } }, 1),
    ).toEqual({
      'prometheus.io/scrape': 'false',
      'prometheus.io/port': '1',
      'prometheus.io/path': '/metrics',
      a: 'b',
    });
  });
});

describe("a relay's cache", () => {
  it("is the node's ephemeral storage, of which the scheduler knows when a size is given", () => {
    expect(cacheVolume({})).toEqual({ emptyDir: {} });
    const sized: RelayPod = { cache: { size: '200Gi', storageClassName: '' } };
    expect(cacheVolume(sized)).toEqual({ emptyDir: { sizeLimit: '200Gi' } });
    const requests = { cpu: '1', 'ephemeral-storage': '200Gi' };
    expect(relayResources({ ...sized, resources: { requests: { cpu: '1' }, limits: {} } })).toEqual(
      {
        limits: {},
        requests,
      },
    );
  });

  it('is a volume of the class that is named, which takes a size', () => {
    const pod: RelayPod = { cache: { size: '200Gi', storageClassName: 'fast' } };
    expect(cacheVolume(pod)).toMatchObject({
      ephemeral: {
        volumeClaimTemplate: {
          spec: { storageClassName: 'fast', resources: { requests: { storage: '200Gi' } } },
        },
      },
    });
    expect(relayResources(pod)).toEqual({});
    expect(isCacheComplete(pod)).toBe(true);
    expect(isCacheComplete({ cache: { storageClassName: 'fast' } })).toBe(false);
  });
});
