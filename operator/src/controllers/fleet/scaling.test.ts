import { describe, expect, it } from 'vitest';
import { RelayScaling } from './scaling.ts';

const IDLE_MS = 600_000;

const need = (replicas: number) => ({ topologyKey: 'zone', domain: 'a', replicas });

describe('the scaling of relays', () => {
  it('keeps relays for a while after nobody needs them', () => {
    const scaling = new RelayScaling(IDLE_MS, 256);
    expect(scaling.decide([need(2)], 0).run).toEqual([need(2)]);
    expect(scaling.decide([], 1000)).toEqual({ run: [need(2)], againInMs: IDLE_MS });
    expect(scaling.decide([], 2000)).toEqual({ run: [need(2)], againInMs: IDLE_MS - 1000 });
    expect(scaling.decide([], IDLE_MS + 999).run).toEqual([need(2)]);
    expect(scaling.decide([], IDLE_MS + 1000).run).toEqual([]);
  });

  it('forgets that they were idle when they are needed again', () => {
    const scaling = new RelayScaling(IDLE_MS, 256);
    scaling.decide([need(2)], 0);
    scaling.decide([], 1);
    expect(scaling.decide([need(2)], IDLE_MS)).toEqual({ run: [need(2)], againInMs: undefined });
    expect(scaling.decide([], 2 * IDLE_MS)).toEqual({ run: [need(2)], againInMs: IDLE_MS });
  });

  it('lets idle ones go for those that are needed where no more may run, the longest idle first', () => {
    const of = (domain: string, replicas: number) => ({ topologyKey: 'zone', domain, replicas });
    const scaling = new RelayScaling(IDLE_MS, 6);
    scaling.decide([of('a', 2), of('b', 2)], 0);
    scaling.decide([of('b', 2)], 1);
    scaling.decide([of('b', 1)], 2);
    expect(scaling.decide([of('b', 1), of('c', 2)], 3).run).toEqual([
      of('a', 2),
      of('b', 2),
      of('c', 2),
    ]);
    expect(scaling.decide([of('b', 1), of('c', 3)], 4).run).toEqual([of('b', 2), of('c', 3)]);
    expect(scaling.decide([of('b', 1), of('c', 5)], 5).run).toEqual([of('b', 1), of('c', 5)]);
  });

  it('grows at once and shrinks late', () => {
    const scaling = new RelayScaling(IDLE_MS, 256);
    scaling.decide([need(1)], 0);
    expect(scaling.decide([need(3)], 1).run).toEqual([need(3)]);
    expect(scaling.decide([need(1)], IDLE_MS).run).toEqual([need(3)]);
    expect(scaling.decide([need(1)], 2 * IDLE_MS - 1).run).toEqual([need(3)]);
    expect(scaling.decide([need(1)], 2 * IDLE_MS).run).toEqual([need(1)]);
  });

  it('gives the relays of an earlier leader the same time', () => {
    const scaling = new RelayScaling(IDLE_MS, 256);
    scaling.adopt(need(2), 5000);
    expect(scaling.decide([], 6000).run).toEqual([need(2)]);
    expect(scaling.decide([], 5000 + IDLE_MS).run).toEqual([]);
  });
});
