import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { expect, it } from 'vitest';
import { after, describeStep, emptyWorld, nextStep, type Step, type World } from './world.ts';

function play(seed: number, count: number): { steps: Step[]; world: World } {
  const random = new SeededRandom(seed);
  let world = emptyWorld(['node-1', 'node-2'], ['zone-a', 'zone-b']);
  const steps: Step[] = [];
  for (let at = 0; at < count; at += 1) {
    const step = nextStep(world, random);
    steps.push(step);
    world = after(world, step);
  }
  return { steps, world };
}

it('a seed is always the same run', () => {
  expect(play(7, 50).steps.map(describeStep)).toEqual(play(7, 50).steps.map(describeStep));
  expect(play(7, 50).steps).not.toEqual(play(8, 50).steps);
});

it('in a long run everything comes that can, and each name once', () => {
  const { steps } = play(1, 2_000);
  expect(new Set(steps.map(({ kind }) => kind)).size).toBe(9);
  const applied = steps.flatMap((step) => (step.kind === 'apply' ? [step.wanted] : []));
  expect(new Set(applied.map(({ name }) => name)).size).toBe(applied.length);
  const folders = steps.flatMap((step) =>
    step.kind === 'apply'
      ? [step.wanted.version.folder]
      : step.kind === 'replace'
        ? [step.version.folder]
        : [],
  );
  expect(new Set(folders).size).toBe(folders.length);
});

it('one that was deleted is wanted no more, and one file stays one file', () => {
  const { steps, world } = play(3, 400);
  for (const step of steps) {
    if (step.kind === 'delete') expect(world.wanted.has(step.name)).toBe(false);
  }
  for (const { version } of world.wanted.values()) {
    if (!version.isSet) expect(version.files).toHaveLength(1);
    const paths = version.files.map(({ path }) => path);
    expect(new Set(paths).size).toBe(paths.length);
  }
});
