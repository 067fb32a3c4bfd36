/** What people are told to watch is there. */
import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const root = path.resolve(import.meta.dirname, '..');
const SUFFIXES = /_(bucket|sum|count)$/;

async function namesInCode(): Promise<Set<string>> {
  const names = new Set<string>();
  const files = glob('{operator,protocol,relay-image,node-agent}/src/**/*.ts', { cwd: root });
  for await (const file of files) {
    if (file.endsWith('.test.ts')) continue;
    const text = await readFile(path.join(root, file), 'utf8');
    for (const [, name] of text.matchAll(/'(sluice_[a-z_]+)'/g)) names.add(name as string);
  }
  return names;
}

describe('the alerts', () => {
  it('look at metrics that are there', async () => {
    const known = await namesInCode();
    const text = await readFile(path.join(root, 'docs/monitoring/alerts.yaml'), 'utf8');
    const { groups } = parse(text) as { groups: { rules: { alert: string; expr: string }[] }[] };
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(0);
    for (const { alert, expr } of rules) {
      const used = [...expr.matchAll(/sluice_[a-z_]+/g)].map(([name]) =>
        name.replace(SUFFIXES, ''),
      );
      expect(used.length, alert).toBeGreaterThan(0);
      for (const name of used) expect([...known], alert).toContain(name);
    }
  });
});

describe('the page on running Sluice', () => {
  it('names metrics that are there', async () => {
    const known = await namesInCode();
    const text = await readFile(path.join(root, 'docs/operations.md'), 'utf8');
    const named = [...text.matchAll(/`(sluice_[a-z_]+)/g)].map(([, name]) => name as string);
    expect(named.length).toBeGreaterThan(10);
    for (const name of named) expect([...known]).toContain(name);
  });
});
