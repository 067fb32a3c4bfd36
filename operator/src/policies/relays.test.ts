import { describe, expect, it } from 'vitest';
import { candidates, targetNodes } from './nodes.ts';
import { relayDemand, relayNeeds } from './relays.ts';

const ZONE = 'topology.kubernetes.io/zone';

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
    const demand = relayDemand(targets, isReady, { topologyKey: ZONE, nodesPerRelay: 2 });
    expect(relayNeeds([demand])).toEqual([
      { topologyKey: ZONE, domain: 'b', replicas: 3 },
      { topologyKey: ZONE, domain: 'default', replicas: 1 },
    ]);
  });

  it('are shared: the largest demand decides', () => {
    const targets = all(nodes(10, 'a'));
    const small = relayDemand(targets, () => false, { topologyKey: ZONE, nodesPerRelay: 10 });
    const large = relayDemand(targets, () => false, { topologyKey: ZONE, nodesPerRelay: 3 });
    expect(relayNeeds([small, large, small])).toMatchObject([{ replicas: 4 }]);
  });

  it('are not shared with those that want their own', () => {
    const targets = all(nodes(10, 'a'));
    const shared = relayDemand(targets, () => false, { topologyKey: ZONE, nodesPerRelay: 10 });
    const own = { topologyKey: ZONE, nodesPerRelay: 5, dedicatedTo: 'uid-1' };
    expect(relayNeeds([shared, relayDemand(targets, () => false, own)])).toEqual([
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
});
