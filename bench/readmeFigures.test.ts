/** What the two READMEs say of recorded results, against those results. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Figure } from './lib/figures.ts';

interface Recorded {
  readonly figures: readonly Figure[];
  readonly runs: readonly { readonly boundSeconds: number }[];
}

const ROOT = path.join(import.meta.dirname, '..');
const RESULTS = 'bench/results';
const ROWS: Readonly<Record<string, string>> = {
  Sluice: 'sluice',
  'BitTorrent by libtorrent': 'libtorrent',
  'BitTorrent by aria2': 'aria2',
  'HTTP from a caching proxy, nginx': 'proxy',
  'HTTP from the origin': 'http',
};

const read = (name: string) => readFileSync(path.join(ROOT, name), 'utf8');
const recorded = (name: string) => JSON.parse(read(`${RESULTS}/${name}.json`)) as Recorded;

/** Cells of the rows of all tables of a section, the first row being the head. */
function tableOf(readme: string, heading: string): string[][] {
  const [, after = ''] = read(readme).split(`\n## ${heading}\n`);
  const [section = ''] = after.split('\n## ');
  const lines = section.split('\n').filter((line) => line.startsWith('|'));
  const rows = lines.filter((line) => !line.startsWith('|--'));
  return rows.map((line) => line.split('|').map((cell) => cell.trim()));
}

function secondsOf(setup: string): string[] {
  const { figures, runs } = recorded(`swarm-${setup}`);
  const seconds = Object.values(ROWS).map((system) => {
    return figures.find(({ name }) => name === `${system}: last node`)?.median;
  });
  return [runs[0]?.boundSeconds, ...seconds].map((value) => (value ?? Number.NaN).toFixed(1));
}

it("README.md's table of times is what bench/swarm recorded", () => {
  const [, ...rows] = tableOf('README.md', 'How fast');
  expect(rows.slice(1).map(([, name]) => name)).toEqual(Object.keys(ROWS));
  expect(rows.map(([, , one]) => one)).toEqual(secondsOf('a-8nodes'));
  expect(rows.map(([, , , other]) => other)).toEqual(secondsOf('b'));
});

it('bench/README.md names every recorded result that misses a goal, and no other', () => {
  const [, ...rows] = tableOf('bench/README.md', 'Goals that are missed');
  const names = readdirSync(path.join(ROOT, RESULTS)).filter((name) => name.endsWith('.json'));
  const missing = names
    .map((name) => path.parse(name).name)
    .filter((name) => recorded(name).figures.some(({ holds }) => holds === false));
  expect(rows.map(([, name]) => name).toSorted()).toEqual(missing.toSorted());
});
