import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { expect, it } from 'vitest';
import { nextStep } from './draw.ts';
import { describeStep, type Step, type Version } from './steps.ts';
import { after, emptyWorld, type World } from './world.ts';

const NODES = [
  { name: 'node-1', zone: 'zone-a' },
  { name: 'node-2', zone: 'zone-b' },
];

function play(seed: number, count: number, losable: string[] = ['node-2']) {
  const random = new SeededRandom(seed);
  let world = emptyWorld(NODES, losable);
  const steps: Step[] = [];
  const worlds: World[] = [];
  for (let at = 0; at < count; at += 1) {
    const step = nextStep(world, random);
    steps.push(step);
    worlds.push(world);
    world = after(world, step);
  }
  return { steps, worlds, world };
}

function versionsOf(steps: readonly Step[]): Version[] {
  return steps.flatMap((step) => {
    if (step.kind === 'apply') return [step.wanted.version];
    return step.kind === 'replace' ? [step.version] : [];
  });
}

it('a seed is always the same run', () => {
  expect(play(7, 50).steps.map(describeStep)).toEqual(play(7, 50).steps.map(describeStep));
  expect(play(7, 50).steps).not.toEqual(play(8, 50).steps);
});

it('in a long run everything comes that can', () => {
  const { steps } = play(1, 5_000);
  expect([...new Set(steps.map(({ kind }) => kind))].sort()).toEqual([
    ...['apply', 'cordon', 'damage', 'delete', 'drain', 'edit', 'evict', 'freeze', 'joinNode'],
    ...['kill', 'meddle', 'meddleWith', 'originTrouble', 'powerOff', 'powerOn', 'reinstall'],
    ...['relabel', 'removeNode', 'replace', 'rollOut', 'uncordon'],
  ]);
  const edited = steps.flatMap((step) => (step.kind === 'edit' ? Object.keys(step.settings) : []));
  expect([...new Set(edited)].sort()).toEqual([
    ...['claim', 'dedicated', 'deletionPolicy', 'fileMode', 'graceSeconds', 'isForPool'],
    ...['keepVersions', 'maxParallelNodes', 'nodeLabel', 'nodesPerRelay', 'priority', 'suspend'],
    ...['transport', 'zone'],
  ]);
  expect(new Set(versionsOf(steps).map(({ kind }) => kind)).size).toBe(3);
});

it('each name comes once, and a path again only after it is free', () => {
  const { steps, worlds } = play(2, 2_000);
  const applied = steps.flatMap((step) => (step.kind === 'apply' ? [step.wanted] : []));
  expect(new Set(applied.map(({ name }) => name)).size).toBe(applied.length);
  expect(applied.some(({ name, path }) => name !== path)).toBe(true);
  steps.forEach((step, at) => {
    if (step.kind !== 'apply') return;
    const taken = [...worlds[at]!.wanted.values()].map(({ path }) => path);
    expect(taken).not.toContain(step.wanted.path);
  });
});

it('a name at the origin is always the same bytes, and a set has no path twice', () => {
  const seeds = new Map<string, string>();
  for (const { folder, files, kind } of versionsOf(play(3, 2_000).steps)) {
    if (kind === 'one') expect(files).toHaveLength(1);
    expect(files.length).toBeGreaterThan(0);
    expect(new Set(files.map(({ path }) => path)).size).toBe(files.length);
    for (const { path, seed } of files) {
      const name = `${folder}/${path}`;
      expect(seeds.get(name) ?? seed).toBe(seed);
      seeds.set(name, seed);
    }
  }
});

it('one list in the folder of another names other files', () => {
  const lists = versionsOf(play(4, 2_000).steps).filter(({ kind }) => kind === 'list');
  const names = lists.map(({ folder, list }) => `${folder}/${list}`);
  expect(new Set(names).size).toBe(names.length);
  expect(new Set(lists.map(({ folder }) => folder)).size).toBeLessThan(names.length);
});

it('only nodes that may be lost are, one at a time, and nothing is done on one that is away', () => {
  const { steps, worlds } = play(5, 3_000);
  const losses = ['powerOff', 'removeNode', 'reinstall'];
  steps.forEach((step, at) => {
    const { away } = worlds[at]!;
    if (losses.includes(step.kind)) {
      expect(step).toMatchObject({ node: 'node-2' });
      expect(away).toBeUndefined();
    } else if ('node' in step && !['powerOn', 'joinNode', 'uncordon'].includes(step.kind)) {
      expect(step.node).not.toBe(away?.node);
    }
  });
  const kinds = new Set(play(5, 3_000, []).steps.map(({ kind }) => kind));
  expect(losses.filter((kind) => kinds.has(kind as Step['kind']))).toEqual([]);
});
