import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkPackages, checkSource, effectRuleNames } from './effectRules.ts';

/** Each row is caught in the first file and fine in the second. */
const planted: { rule: string; source: string; wrong: string; right: string }[] = [
  ...[
    'export const level = process.env.LEVEL;',
    "export const level = process.env['LEVEL'];",
    'export const { LEVEL } = process.env;',
  ].map((source) => ({
    rule: 'environment-in-config',
    source,
    wrong: 'operator/src/main.ts',
    right: 'operator/src/config.ts',
  })),
  {
    rule: 'exit-in-main',
    source: 'export const end = () => process.exit(1);',
    wrong: 'node-agent/src/adapters/signals.ts',
    right: 'node-agent/src/main.ts',
  },
  ...[
    'export const at = Date.now();',
    'export const at = new Date();',
    'export const at = performance.now();',
    'setTimeout(() => undefined, 10);',
    'export const wait = { timer: setTimeout };',
    'globalThis.setTimeout(() => undefined, 10);',
    'setInterval(() => undefined, 10).unref();',
    'export const signal = AbortSignal.timeout(100);',
    "import { setTimeout as sleep } from 'node:timers/promises'; await sleep(1);",
  ].map((source) => ({
    rule: 'clock-at-the-edges',
    source,
    wrong: 'engine/src/session/transfer.ts',
    right: 'engine/src/adapters/clock.ts',
  })),
  {
    rule: 'clock-at-the-edges',
    source: 'export const at = Date.now();',
    wrong: 'operator/src/controllers/distribution/decide.ts',
    right: 'operator/src/kube/workQueue.ts',
  },
  {
    rule: 'randomness-at-the-edges',
    source: 'export const roll = Math.random();',
    wrong: 'operator/src/tracker/peers.ts',
    right: 'relay-image/src/adapters/random.ts',
  },
  {
    rule: 'fetch-at-the-edges',
    source: "export const answer = await fetch('http://origin.example');",
    wrong: 'operator/src/policies/source.ts',
    right: 'protocol/src/client/http.ts',
  },
];

describe('the effect rules', () => {
  it.each(planted)('catch `$source` in $wrong', ({ rule, source, wrong }) => {
    expect(checkSource(wrong, source).map((v) => v.rule)).toEqual([rule]);
  });

  it.each(planted)('allow `$source` in $right', ({ source, right }) => {
    expect(checkSource(right, source)).toEqual([]);
  });

  it.each([
    ['a clock of our own', 'clock.setTimer(10, () => undefined); deps.fetch(url); clock.now();'],
    ['a given date', 'export const at = new Date(milliseconds);'],
    ['a comment', '// Date.now() and setTimeout are not used here\nexport const a = "fetch";'],
    ['a method named fetch', 'export const source = { fetch(url: URL) { return url; } };'],
    ['a type', 'export interface Deps { setTimeout: (delayMs: number) => void }'],
  ])('say nothing about %s', (_, source) => {
    expect(checkSource('engine/src/session/transfer.ts', source)).toEqual([]);
  });

  it('each have a planted violation', () => {
    expect([...new Set(planted.map((p) => p.rule))].sort()).toEqual([...effectRuleNames].sort());
  });

  it('are applied to what the packages ship, with file and line, and not to tests', async () => {
    const root = await mkdtemp(path.join(tmpdir(), 'sluice-effects-'));
    try {
      const folder = path.join(root, 'engine/src/session');
      await mkdir(folder, { recursive: true });
      await writeFile(path.join(folder, 'loop.ts'), '\nexport const at = Date.now();\n');
      await writeFile(path.join(folder, 'loop.test.ts'), 'export const at = Date.now();\n');
      expect(await checkPackages(root)).toMatchObject([
        { file: 'engine/src/session/loop.ts', line: 2, rule: 'clock-at-the-edges' },
      ]);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
});
