import { describe, expect, it } from 'vitest';
import { Bitfield } from '../pieces/bitfield.ts';
import { hasOrphans } from './orphans.ts';

function having(...pieces: number[]): Bitfield {
  const field = new Bitfield(20);
  for (const piece of pieces) field.add(piece);
  return field;
}

describe('pieces that agents alone have', () => {
  it.each([
    { relays: [having(0, 9), having(19)], agents: [having(9), having(0, 19)], orphans: false },
    { relays: [having(0, 9), having(19)], agents: [having(9), having(0, 18)], orphans: true },
    { relays: [], agents: [having(3)], orphans: true },
    { relays: [having()], agents: [having()], orphans: false },
    { relays: [having(1)], agents: [], orphans: false },
  ])('case %#: $orphans', ({ relays, agents, orphans }) => {
    expect(hasOrphans(relays, agents)).toBe(orphans);
  });
});
