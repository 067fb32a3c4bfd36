import { describe, expect, it } from 'vitest';
import { placesOf, type WaveNode } from './waves.ts';

function node(name: string, overrides: Partial<WaveNode> = {}): WaveNode {
  return { name, state: 'pending', verifiedBytes: 0, agent: 'connected', ...overrides };
}

const busy = (name: string, verifiedBytes = 10) =>
  node(name, { state: 'transferring', verifiedBytes });
const ready = (name: string) => node(name, { state: 'ready' });
const failed = (name: string) => node(name, { state: 'failed', verifiedBytes: 5 });

interface Case {
  readonly says: string;
  readonly nodes: readonly WaveNode[];
  readonly most: number;
  readonly holding?: readonly string[];
  readonly places: readonly string[];
}

const cases: readonly Case[] = [
  {
    says: 'begins with the first',
    nodes: [node('a'), node('b'), node('c')],
    most: 2,
    places: ['a', 'b'],
  },
  {
    says: 'refills when one has finished',
    nodes: [ready('a'), busy('b'), node('c'), node('d')],
    most: 2,
    holding: ['a', 'b'],
    places: ['b', 'c'],
  },
  {
    says: 'lets who has a place keep it, begun or not',
    nodes: [node('a'), node('b'), busy('c')],
    most: 2,
    holding: ['b', 'c'],
    places: ['b', 'c'],
  },
  {
    says: 'stops those that have least when it is lowered',
    nodes: [busy('a', 10), busy('b', 30), busy('c', 20)],
    most: 2,
    holding: ['a', 'b', 'c'],
    places: ['b', 'c'],
  },
  {
    says: 'gives the place of one that stands still to who waits',
    nodes: [{ ...busy('a', 90), isStill: true }, node('b'), failed('c')],
    most: 1,
    holding: ['a'],
    places: ['b'],
  },
  {
    says: 'lets one that stands still have what nobody else wants',
    nodes: [{ ...busy('a', 90), isStill: true }, ready('b')],
    most: 1,
    places: ['a'],
  },
  {
    says: 'lets who has begun go first when it was not limited before',
    nodes: [node('a'), busy('b'), busy('c')],
    most: 2,
    places: ['b', 'c'],
  },
  {
    says: 'gives the place of a failed node to one that waits',
    nodes: [failed('a'), node('b'), node('c')],
    most: 1,
    holding: ['a'],
    places: ['b'],
  },
  {
    says: 'tries failed nodes when nobody waits',
    nodes: [failed('a'), ready('b')],
    most: 1,
    places: ['a'],
  },
  {
    says: 'keeps the place of an agent that is silent for a moment',
    nodes: [{ ...busy('a'), agent: 'silent' }, node('b')],
    most: 1,
    holding: ['a'],
    places: ['a'],
  },
  {
    says: 'does not wait for nodes without an agent',
    nodes: [node('a', { agent: 'none' }), { ...busy('b'), agent: 'none' }, node('c')],
    most: 1,
    holding: ['b'],
    places: ['c'],
  },
];

describe('a wave', () => {
  it.each(cases)('$says', ({ nodes, most, holding = [], places }) => {
    expect([...placesOf(nodes, most, new Set(holding))].sort()).toEqual(places);
  });
});
