import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { countReport, readResult, sum } from './testCounts.ts';

const file = (status: string, ...tests: string[]) => ({
  status,
  assertionResults: tests.map((test) => ({ status: test })),
});

describe('counting tests', () => {
  it.each([
    ['all passed', [file('passed', 'passed', 'passed')], 2, 0, 0, { passed: 2, failed: 0 }],
    ['one failed', [file('failed', 'passed', 'failed')], 1, 1, 1, { passed: 1, failed: 1 }],
    ['a file that cannot be loaded', [file('failed')], 0, 0, 1, { passed: 0, failed: 1 }],
    [
      'a hook that fails after its tests',
      [file('failed', 'passed')],
      1,
      0,
      1,
      { passed: 1, failed: 1 },
    ],
    ['an error outside the tests', [file('passed', 'passed')], 1, 0, 1, { passed: 1, failed: 1 }],
  ])('is right for %s', (_, testResults, numPassedTests, numFailedTests, exitCode, counts) => {
    expect(countReport({ numPassedTests, numFailedTests, testResults }, exitCode)).toEqual(counts);
  });

  it('takes a suite without a report as one failure', async () => {
    expect(await readResult('/nonexistent/report.json', 0)).toEqual({
      passed: 0,
      failed: 1,
      failures: ['the suite ended without a report'],
    });
  });

  it('sums suites', () => {
    expect(
      sum([
        { passed: 2, failed: 0 },
        { passed: 3, failed: 1 },
      ]),
    ).toEqual({ passed: 5, failed: 1 });
  });

  it('reads what vitest really writes', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'sluice-counts-'));
    try {
      await writeFile(path.join(folder, 'vitest.config.mjs'), 'export default {};\n');
      await writeFile(path.join(folder, 'package.json'), '{"type": "module"}\n');
      await writeFile(
        path.join(folder, 'a.test.js'),
        "it('passes', () => {}); it('fails', () => { throw new Error('no'); });\n",
      );
      await writeFile(path.join(folder, 'b.test.js'), "throw new Error('cannot be loaded');\n");
      const report = path.join(folder, 'report.json');
      const bin = path.resolve(import.meta.dirname, '../node_modules/vitest/vitest.mjs');
      const args = [
        bin,
        'run',
        '--globals',
        '--root',
        folder,
        '--reporter=json',
        `--outputFile=${report}`,
      ];
      const env = { PATH: process.env.PATH ?? '' };
      await promisify(execFile)(process.execPath, args, { cwd: folder, env }).catch(
        () => undefined,
      );
      const { failures, ...counts } = await readResult(report, 1);
      expect(counts).toEqual({ passed: 1, failed: 2 });
      expect(failures.toSorted()).toEqual([
        expect.stringMatching(/a\.test\.js > fails\n {2}Error: no\n/),
        expect.stringMatching(/b\.test\.js\n {2}cannot be loaded/),
      ]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }, 60_000);
});
