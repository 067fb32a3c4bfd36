import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Member, neighbours } from './peers.ts';

function swarm(agents: number, relays: number, domains: number): Member[] {
  const member = (kind: 'agent' | 'relay') => (_: unknown, at: number) => ({
    id: `${kind}-${at}`,
    kind,
    domain: `zone-${at % domains}`,
  });
  return [
    ...Array.from({ length: agents }, member('agent')),
    ...Array.from({ length: relays }, member('relay')),
  ];
}

/** By id, the ids of its peers. */
function idsOfPeers(members: readonly Member[]): Map<string, string[]> {
  const lists = neighbours(members);
  return new Map([...lists].map(([id, peers]) => [id, peers.map((peer) => peer.id)]));
}

describe('the peers of a swarm', () => {
  it('are all of a small one', () => {
    const lists = idsOfPeers(swarm(6, 2, 2));
    for (const [id, peers] of lists) {
      expect(peers).toHaveLength(7);
      expect(peers).not.toContain(id);
    }
  });

  it('know each other, are few, reach everybody and a relay, whatever the swarm', () => {
    fc.assert(
      fc.property(
        fc.nat(1500),
        fc.nat(8),
        fc.integer({ min: 1, max: 5 }),
        (agents, extra, domains) => {
          // Fewer than there will be: relays start one after the other.
          const relays = domains + extra;
          const members = swarm(agents, relays, domains);
          const lists = idsOfPeers(members);
          const known = new Map([...lists].map(([id, peers]) => [id, new Set(peers)]));
          for (const [id, peers] of lists) {
            expect(peers.length).toBeLessThanOrEqual(256);
            expect(peers).toEqual([...new Set(peers)].sort());
            // Only a relay whose list is full does not know who knows it.
            const oneWay = peers.filter((peer) => !known.get(peer)?.has(id));
            expect(oneWay.filter((peer) => lists.get(peer)?.length !== 256)).toEqual([]);
            expect(oneWay.filter((peer) => !peer.startsWith('relay'))).toEqual([]);
          }
          const reached = new Set<string>();
          const queue = members.slice(0, 1).map(({ id }) => id);
          for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
            if (reached.has(id)) continue;
            reached.add(id);
            queue.push(...(lists.get(id) ?? []));
          }
          expect(reached.size).toBe(members.length);
          for (const { id, kind } of members) {
            if (kind === 'agent')
              expect(lists.get(id)?.some((peer) => peer.startsWith('relay'))).toBe(true);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('are about 20 agents for an agent of a thousand', () => {
    const lists = idsOfPeers(swarm(1000, 10, 2));
    const counts = [...lists]
      .filter(([id]) => id.startsWith('agent'))
      .map(([, peers]) => peers.filter((peer) => peer.startsWith('agent')).length);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(15);
    expect(Math.max(...counts)).toBeLessThanOrEqual(30);
  });
});
