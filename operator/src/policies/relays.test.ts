import { describe, expect, it } from 'vitest';
import { aReport } from '../testing/objects.ts';
import { candidates, targetNodes } from './nodes.ts';
import {
  type RelayAsk,
  type RelayBounds,
  relayAsks,
  relayDemand,
  relayNeeds,
  wantsBytes,
} from './relays.ts';

const ZONE = 'topology.kubernetes.io/zone';
const ML = { namespace: 'ml', topologyKey: ZONE };
const WIDE: RelayBounds = { maxRelays: 100, maxPerDomain: 100, topologyKeys: [] };
const needsOf = (...demands: Parameters<typeof relayAsks>[0][]) =>
  relayNeeds(relayAsks(demands.flatMap((each) => [...each])), WIDE);

function nodes(count: number, zone: string | undefined, from = 0) {
  return Array.from({ length: count }, (_, index) => ({
    name: `${zone ?? 'none'}-${from + index}`,
    labels: zone === undefined ? {} : { [ZONE]: zone },
    uid: `uid-${from + index}`,
    unschedulable: false,
    notReady: false,
  }));
}

const all = (of: Parameters<typeof candidates>[0]) =>
  targetNodes(candidates(of, ZONE), { nodeSelector: {} });

describe('relays', () => {
  it('are needed in each domain in which a node waits; nodes without the key form one', () => {
    const targets = all([...nodes(3, 'a'), ...nodes(5, 'b'), ...nodes(1, undefined)]);
    const isReady = (name: string) => name.startsWith('a-');
    const demand = relayDemand(targets, isReady, { ...ML, nodesPerRelay: 2 });
    expect(needsOf([demand])).toEqual([
      { topologyKey: ZONE, domain: 'b', replicas: 3 },
      { topologyKey: ZONE, domain: 'default', replicas: 1 },
    ]);
  });

  it('are shared: the largest demand decides', () => {
    const targets = all(nodes(10, 'a'));
    const small = relayDemand(targets, () => false, { ...ML, nodesPerRelay: 10 });
    const large = relayDemand(targets, () => false, { ...ML, nodesPerRelay: 3 });
    expect(needsOf([small, large, small])).toMatchObject([{ replicas: 4 }]);
  });

  it('are not shared with those that want their own', () => {
    const targets = all(nodes(10, 'a'));
    const shared = relayDemand(targets, () => false, { ...ML, nodesPerRelay: 10 });
    const own = { ...ML, nodesPerRelay: 5, dedicatedTo: 'uid-1' };
    expect(needsOf([shared, relayDemand(targets, () => false, own)])).toEqual([
      { topologyKey: ZONE, domain: 'a', replicas: 1 },
      { topologyKey: ZONE, domain: 'a', dedicatedTo: 'uid-1', replicas: 2 },
    ]);
  });

  it('are for nodes that have every label of the selector', () => {
    const some = [
      { name: 'x', labels: { gpu: 'yes', disk: 'fast' } },
      { name: 'y', labels: { gpu: 'yes' } },
    ].map((node) => ({ ...node, uid: node.name, unschedulable: false, notReady: false }));
    const selection = { nodeSelector: { gpu: 'yes', disk: 'fast' } };
    const targets = targetNodes(candidates(some, ZONE), selection);
    expect(targets.map(({ name }) => name)).toEqual(['x']);
  });

  describe('are bounded by who runs the cluster', () => {
    const HOST = 'kubernetes.io/hostname';
    const ask = (
      namespaces: string,
      domain: string,
      replicas = 1,
      more: Partial<RelayAsk> = {},
    ): RelayAsk => {
      return { topologyKey: ZONE, domain, replicas, namespaces: namespaces.split(','), ...more };
    };
    const hosts = (count: number) =>
      Array.from({ length: count }, (_, at) => ask('greedy', `h${at}`, 1, { topologyKey: HOST }));
    const own = (domain: string, replicas: number) =>
      ask('greedy', domain, replicas, { dedicatedTo: 'u' });
    it.each<[string, RelayAsk[], Partial<RelayBounds>, Record<string, number>]>([
      ['and get all where that is enough', [ask('ml', 'a', 3)], { maxRelays: 3 }, { a: 3 }],
      ['in a domain', [ask('ml', 'a', 9), ask('ml', 'b', 2)], { maxPerDomain: 4 }, { a: 4, b: 2 }],
      [
        'in all: each domain has one before one has two',
        [ask('ml', 'c'), ask('ml', 'a', 5), ask('ml', 'b', 5)],
        { maxRelays: 4 },
        { a: 2, b: 1, c: 1 },
      ],
      [
        'and a namespace with a domain for each node leaves others theirs',
        [...hosts(50), ask('ml', 'a', 2)],
        { maxRelays: 4 },
        { h0: 1, h1: 1, a: 2 },
      ],
      [
        'and shared ones come before those of one distribution',
        [own('a', 3), ask('greedy', 'z', 1)],
        { maxRelays: 1 },
        { z: 1 },
      ],
      [
        'and those of several namespaces get no more for that',
        [ask('ml,web', 'a', 1), ask('web', 'b', 3)],
        { maxRelays: 3 },
        { a: 1, b: 2 },
      ],
      [
        'in the labels that make domains',
        [...hosts(2), ask('ml', 'a')],
        { topologyKeys: [ZONE] },
        { a: 1 },
      ],
    ])('%s', (_what, asks, bounds, expected) => {
      for (const given of [asks, asks.toReversed()]) {
        const needs = relayNeeds(given, { ...WIDE, ...bounds });
        const found = needs.map(({ domain, replicas }) => [domain, replicas] as const);
        expect(Object.fromEntries(found)).toEqual(expected);
        for (const need of needs) expect(need).not.toHaveProperty('namespaces');
      }
    });
  });
});

it.each([
  ['waits for a turn', { state: 'pending' }, true],
  ['receives', { state: 'transferring' }, true],
  ['verifies, and may lack something', { state: 'verifying' }, true],
  ['has the file', { state: 'ready' }, false],
  ['has failed', { state: 'failed' }, false],
  ['has no agent', { state: 'pending', connected: false }, false],
] as const)('relays of a domain are kept by a node that %s: %s', (_case, report, wants) => {
  expect(wantsBytes(aReport('n1', report))).toBe(wants);
});
