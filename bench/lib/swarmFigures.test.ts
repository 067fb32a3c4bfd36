import { describe, expect, it } from 'vitest';
import { SETUPS } from './setups.ts';
import { type RoundRun, swarmFigures } from './swarmFigures.ts';

const [a, , , d, e, f] = SETUPS;

function aRun(overrides: Partial<RoundRun>): RoundRun {
  return {
    setup: 'a',
    system: 'sluice',
    round: 1,
    seconds: 11,
    boundSeconds: 10,
    oneCopyBoundSeconds: 11,
    nodeSeconds: {},
    originCopies: 1,
    relayCopies: 1.1,
    originSeconds: 10,
    cpuBusyShare: 0.5,
    cpuSeconds: { relays: 1, nodes: 1 },
    linkUse: { origin: 1, relaysUp: 1, nodesUp: 1 },
    wrongNodes: [],
    facts: {},
    ...overrides,
  };
}

function figure(name: string, setup: typeof a, runs: readonly RoundRun[]) {
  return swarmFigures(setup!, runs).find((each) => each.name === name);
}

describe('the runs of a set-up', () => {
  it('compare with the fastest alternative of the same round', () => {
    const runs = [
      aRun({ seconds: 11 }),
      aRun({ system: 'aria2', seconds: 22 }),
      aRun({ system: 'http', seconds: 99 }),
      aRun({ round: 2, seconds: 40 }),
      aRun({ round: 2, system: 'aria2', seconds: 50 }),
    ];
    const name = 'sluice / the fastest alternative: the last node';
    expect(figure(name, a, runs)).toMatchObject({ min: 0.5, max: 0.8, holds: true });
  });

  it('that the processor limited give no times, but must keep what is promised', () => {
    const runs = [aRun({}), aRun({ seconds: 99, originCopies: 1.5, leftOut: 'busy' })];
    expect(figure('sluice: last node / fluid bound', a, runs)).toMatchObject({ max: 1.1 });
    expect(figure('sluice: copies from the origin', a, runs)).toMatchObject({ holds: false });
    expect(figure('runs left out, the processor was the limit', a, runs)?.median).toBe(1);
  });

  it('are too few when the processor limited most of them', () => {
    const runs = Array.from({ length: 6 }, (_, at) => aRun({ round: at + 1 }));
    expect(figure('sluice: runs that count', a, runs)).toMatchObject({ holds: true });
    const busy = runs.map((run, at) => (at < 2 ? { ...run, leftOut: 'busy' } : run));
    expect(figure('sluice: runs that count', a, busy)).toMatchObject({ median: 4, holds: false });
  });

  it('count late nodes from their own start, and fast nodes alone', () => {
    const late = aRun({ halfwaySeconds: 4, nodeSeconds: { node1: 30, node12: 20 } });
    expect(figure('sluice: last late node, from its own start', d, [late])?.median).toBe(16);
    const slow = aRun({ nodeSeconds: { node1: 8, node4: 60, node5: 9 } });
    expect(figure('sluice: last fast node', f, [slow])?.median).toBe(9);
  });

  it('with a relay killed: only what it alone held is fetched again, and what was coming to it', () => {
    const run = (originCopies: number) => {
      const lost = { pieces: 10, pieceLengthBytes: 262_144 };
      return aRun({ setup: 'e', originCopies, facts: { lost } });
    };
    const name = 'sluice: pieces fetched again beyond those that the killed relay alone held';
    // Of 512 pieces.
    expect(figure(name, e, [run(1 + 14 / 512)])).toMatchObject({ median: 4, holds: true });
    expect(figure(name, e, [run(1 + 20 / 512)])).toMatchObject({ median: 10, holds: false });
  });
});
