import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FluidSetup, fluidBound } from './fluidBound.ts';

const MEGABIT = 125_000;
const MIB = 1024 * 1024;

function links(origin: number, relays: number[], nodes: number, down: number, up: number) {
  return {
    sizeBytes: 256 * MIB,
    originRate: origin * MEGABIT,
    relayUpRates: relays.map((rate) => rate * MEGABIT),
    nodes: Array.from({ length: nodes }, () => ({
      downRate: down * MEGABIT,
      upRate: up * MEGABIT,
    })),
  };
}

describe('the fluid bound', () => {
  it('of 16 nodes behind an origin of 100 Mbit/s is the time of one copy from it', () => {
    const { seconds, oneCopySeconds } = fluidBound(links(100, [200, 200], 16, 100, 100));
    expect(seconds).toBeCloseTo(22.46, 2);
    expect(oneCopySeconds).toBeCloseTo(22.46, 2);
  });

  it('of 16 nodes that give 20 Mbit/s is ruled by all uplinks together', () => {
    const { seconds, oneCopySeconds } = fluidBound(links(100, [200, 200], 16, 100, 20));
    expect(seconds).toBeCloseTo(49.3, 1);
    // 16 copies through 2 x 200 + 16 x 20 Mbit/s.
    expect(oneCopySeconds).toBeCloseTo(49.92, 2);
  });

  it('waits for the slowest node', () => {
    const setup = links(100, [200], 4, 100, 100);
    const slow = { downRate: 10 * MEGABIT, upRate: 10 * MEGABIT };
    const { seconds } = fluidBound({ ...setup, nodes: [...setup.nodes, slow] });
    expect(seconds).toBeCloseTo(224.6, 1);
  });

  it('gives a twice as fast network half of the time, and a faster link never more', () => {
    const rate = fc.integer({ min: 1, max: 10_000 });
    const setups: fc.Arbitrary<FluidSetup> = fc.record({
      sizeBytes: fc.integer({ min: 1, max: 1e9 }),
      originRate: rate,
      relayUpRates: fc.array(rate, { maxLength: 4 }),
      nodes: fc.array(fc.record({ downRate: rate, upRate: rate }), { minLength: 1, maxLength: 20 }),
    });
    fc.assert(
      fc.property(setups, (setup) => {
        const twice = {
          ...setup,
          originRate: 2 * setup.originRate,
          relayUpRates: setup.relayUpRates.map((each) => 2 * each),
          nodes: setup.nodes.map(({ downRate, upRate }) => ({
            downRate: 2 * downRate,
            upRate: 2 * upRate,
          })),
        };
        const { seconds, oneCopySeconds } = fluidBound(setup);
        expect(fluidBound(twice).seconds).toBeCloseTo(seconds / 2, 6);
        expect(fluidBound(twice).oneCopySeconds).toBeCloseTo(oneCopySeconds / 2, 6);
        const faster = { ...setup, originRate: 3 * setup.originRate };
        expect(fluidBound(faster).seconds).toBeLessThanOrEqual(seconds);
      }),
    );
  });

  it('of nobody is refused', () => {
    expect(() => fluidBound({ ...links(1, [], 1, 1, 1), nodes: [] })).toThrow('at least one node');
  });
});
