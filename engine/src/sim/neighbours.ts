import type { PeerRole } from '../wire/hello.ts';
import type { SeededRandom } from './seededRandom.ts';

export interface Member {
  readonly id: string;
  readonly kind: PeerRole;
}

/** As many peers as the tracker names. */
const NEIGHBOURS = 20;
/** Of a swarm that small everybody knows everybody. */
const SMALL = 24;

/** Who knows whom: everybody, or all relays and some of the nodes. */
export function neighboursOf(
  members: readonly Member[],
  random: SeededRandom,
): Map<string, string[]> {
  const relays = members.filter(({ kind }) => kind === 'relay').map(({ id }) => id);
  const nodes = members.filter(({ kind }) => kind === 'agent').map(({ id }) => id);
  return new Map(
    members.map(({ id }) => {
      const chosen = new Set(relays);
      if (members.length <= SMALL) for (const node of nodes) chosen.add(node);
      const wanted = relays.length + Math.min(NEIGHBOURS, nodes.length);
      while (chosen.size < wanted) chosen.add(random.pick(nodes));
      chosen.delete(id);
      return [id, [...chosen]];
    }),
  );
}
