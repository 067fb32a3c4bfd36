import { describe, expect, it } from 'vitest';
import { fluidBoundSeconds, PAYLOAD_SHARE } from './fluidBound.ts';

describe('the fluid bound', () => {
  it("is the origin's where the origin is slowest", () => {
    const setup = { sizeBytes: 1000, nodes: 6, originRate: 10, linkRate: 1000 };
    expect(fluidBoundSeconds(setup)).toBe(100);
  });

  it("is a node's link, with room for headers, where that is slowest", () => {
    const setup = { sizeBytes: 1000, nodes: 6, originRate: 1000, linkRate: 10 };
    expect(fluidBoundSeconds(setup)).toBeCloseTo(100 / PAYLOAD_SHARE);
  });
});
