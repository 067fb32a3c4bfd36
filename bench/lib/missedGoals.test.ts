import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Figure } from './figures.ts';

const BENCH = path.join(import.meta.dirname, '..');
const RESULTS = path.join(BENCH, 'results');

/** Names of recorded results, without their ending. */
function missing(): string[] {
  const names = readdirSync(RESULTS).filter((name) => name.endsWith('.json'));
  return names.flatMap((name) => {
    const { figures } = JSON.parse(readFileSync(path.join(RESULTS, name), 'utf8')) as {
      figures: Figure[];
    };
    return figures.some(({ holds }) => holds === false) ? [path.parse(name).name] : [];
  });
}

it('README.md names every recorded result that misses a goal, and no other', () => {
  const readme = readFileSync(path.join(BENCH, 'README.md'), 'utf8');
  const [, section = ''] = readme.split('\n## Goals that are missed\n');
  const rows = section.split('\n').filter((line) => line.startsWith('| '));
  const named = rows.slice(1).map((row) => row.split('|')[1]?.trim());
  expect(named.toSorted()).toEqual(missing().toSorted());
});
