/**
 * `make test`: every check and every suite, one after the other, then what failed, once more and
 * in short, and one line with the sum. A suite that crashes, hangs or writes no result counts as
 * failed; the sum is printed whatever happens. With SLUICE_TEST_RESULT=FILE the sum
 * goes into that file instead (for .ci/run).
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { endCommandsOnSignal, formatDuration, runCommand } from './command.ts';
import { type Counts, failedSuite, readResult, type SuiteResult, sum } from './testCounts.ts';
import { UNIT_TESTS, verify } from './verify.ts';

const MINUTE_MS = 60_000;

/** Time limits are several times what a suite needs on two cores: they end what hangs. */
const SUITES = [
  { name: 'unit', timeoutMs: 6 * MINUTE_MS },
  { name: 'simulation', timeoutMs: 6 * MINUTE_MS },
  { name: 'integration', timeoutMs: 20 * MINUTE_MS },
  { name: 'cluster', timeoutMs: 12 * MINUTE_MS },
  { name: 'e2e', timeoutMs: 45 * MINUTE_MS },
] as const;

/** Building a cluster's binaries from nothing takes about nine minutes on two cores. */
const SETUP_TIMEOUT_MS = 30 * MINUTE_MS;

interface Part {
  readonly name: string;
  readonly counts: Counts;
  readonly failures: readonly string[];
  readonly durationMs: number;
}

endCommandsOnSignal();
const parts: Part[] = [];
const resultFile = process.env.SLUICE_TEST_RESULT;
const folder = await mkdtemp(path.join(tmpdir(), 'sluice-test-'));
try {
  await part('verify', async () => {
    const results = await verify([UNIT_TESTS]);
    const passed = results.filter((result) => result.passed).length;
    const failures = results.filter((result) => !result.passed).map((result) => result.name);
    return { passed, failed: results.length - passed, failures };
  });
  const prepared = await part('setup', async () => {
    const command = ['node', 'e2e/cluster/setup.ts'];
    const result = await runCommand(command, { timeoutMs: SETUP_TIMEOUT_MS, output: 'inherit' });
    return result.exitCode === 0 ? { passed: 0, failed: 0 } : failedSuite;
  });
  for (const suite of SUITES) {
    // Without the cluster's binaries only these say anything.
    if (prepared.failed > 0 && suite.name !== 'unit' && suite.name !== 'simulation')
      await part(suite.name, async () => failedSuite);
    else await part(suite.name, () => runSuite(suite.name, suite.timeoutMs));
  }
} catch (error) {
  console.error(error);
  parts.push({
    name: 'scripts/test.ts',
    counts: failedSuite,
    failures: [String(error)],
    durationMs: 0,
  });
} finally {
  await rm(folder, { recursive: true, force: true });
}

console.log('');
for (const { name, counts, durationMs } of parts) {
  const time = formatDuration(durationMs).padStart(12);
  console.log(
    `test: ${name.padEnd(12)} ${time}   passed ${counts.passed}   failed ${counts.failed}`,
  );
}
// Thousands of lines above, where whoever reads the end of a log would not look for it.
for (const { name, failures } of parts)
  for (const failure of failures) console.log(`\ntest: FAILED ${name}: ${failure}`);
const total = sum(parts.map((entry) => entry.counts));
const line = `${total.passed} passed, ${total.failed} failed`;
if (resultFile) await writeFile(resultFile, `${line}\n`);
else console.log(line);
process.exitCode = total.failed > 0 ? 1 : 0;

async function part(
  name: string,
  run: () => Promise<Counts & Partial<SuiteResult>>,
): Promise<Counts> {
  console.log(`\ntest: ${name}`);
  const startedAt = performance.now();
  const { failures = [], ...counts } = await run();
  parts.push({ name, counts, failures, durationMs: performance.now() - startedAt });
  return counts;
}

async function runSuite(name: string, timeoutMs: number): Promise<SuiteResult> {
  const file = path.join(folder, `${name}.json`);
  const startedAt = performance.now();
  // vitest says nothing while one long file runs; off a terminal that looks like a hang.
  const heartbeat = process.stdout.isTTY
    ? undefined
    : setInterval(() => {
        console.log(`test: ${name} runs for ${formatDuration(performance.now() - startedAt)}`);
      }, 30_000);
  const result = await runCommand(
    [
      'vitest',
      'run',
      '--project',
      name,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${file}`,
    ],
    { timeoutMs, output: 'inherit' },
  );
  clearInterval(heartbeat);
  if (result.timedOut) console.log(`test: ${name} was ended after ${formatDuration(timeoutMs)}`);
  return readResult(file, result.exitCode);
}
