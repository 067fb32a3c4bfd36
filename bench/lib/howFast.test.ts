import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Figure } from './figures.ts';

interface Recorded {
  readonly figures: readonly Figure[];
  readonly runs: readonly { readonly boundSeconds: number }[];
}

const ROOT = path.join(import.meta.dirname, '../..');
const ROWS: Readonly<Record<string, string>> = {
  Sluice: 'sluice',
  'BitTorrent by libtorrent': 'libtorrent',
  'BitTorrent by aria2': 'aria2',
  'HTTP from a caching proxy, nginx': 'proxy',
  'HTTP from the origin': 'http',
};

const read = (name: string) => readFileSync(path.join(ROOT, name), 'utf8');

function recorded(setup: string): string[] {
  const { figures, runs } = JSON.parse(read(`bench/results/swarm-${setup}.json`)) as Recorded;
  const seconds = Object.values(ROWS).map((system) => {
    return figures.find(({ name }) => name === `${system}: last node`)?.median;
  });
  return [runs[0]?.boundSeconds, ...seconds].map((value) => (value ?? Number.NaN).toFixed(1));
}

it("README.md's table of times is what bench/swarm recorded", () => {
  const [, section = ''] = read('README.md').split('\n## How fast\n');
  const rows = section
    .split('\n## ')[0]
    ?.split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  expect(rows?.slice(3).map(([, name]) => name)).toEqual(Object.keys(ROWS));
  expect(rows?.slice(2).map(([, , one]) => one)).toEqual(recorded('a-8nodes'));
  expect(rows?.slice(2).map(([, , , other]) => other)).toEqual(recorded('b'));
});
