import { describe, expect, it } from 'vitest';
import { targetNodes } from './nodes.ts';
import { relayDemand, relayNeeds } from './relays.ts';

const ZONE = 'topology.kubernetes.io/zone';

function nodes(count: number, zone: string | undefined, from = 0) {
  return Array.from({ length: count }, (_, index) => ({
    name: `${zone ?? 'none'}-${from + index}`,
    labels: zone === undefined ? {} : { [ZONE]: zone },
    unschedulable: false,
  }));
}

describe('relays', () => {
  it('are needed in each domain in which a node waits; nodes without the key form one', () => {
    const targets = targetNodes(
      [...nodes(3, 'a'), ...nodes(5, 'b'), ...nodes(1, undefined)],
      {},
      ZONE,
    );
    const isReady = (name: string) => name.startsWith('a-');
    const demand = relayDemand(targets, isReady, { topologyKey: ZONE, nodesPerRelay: 2 });
    expect(relayNeeds([demand])).toEqual([
      { topologyKey: ZONE, domain: 'b', replicas: 3 },
      { topologyKey: ZONE, domain: 'default', replicas: 1 },
    ]);
  });

  it('are shared: the largest demand decides', () => {
    const targets = targetNodes(nodes(10, 'a'), {}, ZONE);
    const small = relayDemand(targets, () => false, { topologyKey: ZONE, nodesPerRelay: 10 });
    const large = relayDemand(targets, () => false, { topologyKey: ZONE, nodesPerRelay: 3 });
    expect(relayNeeds([small, large, small])).toMatchObject([{ replicas: 4 }]);
  });

  it('are for nodes that have every label of the selector', () => {
    const all = [
      { name: 'x', labels: { gpu: 'yes', disk: 'fast' }, unschedulable: false },
      { name: 'y', labels: { gpu: 'yes' }, unschedulable: false },
    ];
    const names = targetNodes(all, { gpu: 'yes', disk: 'fast' }, ZONE).map((node) => node.name);
    expect(names).toEqual(['x']);
  });
});
