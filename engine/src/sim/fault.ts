import type { SeededRandom } from './seededRandom.ts';
import type { SimulatedPeer, SwarmWorld } from './swarmWorld.ts';

/** Something that goes wrong in a random world, or that somebody changes. */
export interface Fault {
  readonly name: string;
  readonly atMs: number;
  act(): Promise<void> | void;
}

/** All that it does is drawn at once. `nodes`: those that are there from the beginning. */
export type Draw = (
  world: SwarmWorld,
  random: SeededRandom,
  atMs: number,
  nodes: readonly SimulatedPeer[],
) => Fault;

/** The last one has begun by then. */
export const FAULTS_MS = 10_000;
