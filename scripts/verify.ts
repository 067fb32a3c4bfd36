/**
 * `make verify`: everything that can be judged without a cluster.
 * Independent checks run two at a time; each prints one line, a failed one its output.
 */
import { endCommandsOnSignal, formatDuration, runCommand } from './command.ts';

interface Check {
  readonly name: string;
  readonly command: readonly string[];
}

export interface CheckResult {
  readonly name: string;
  readonly passed: boolean;
}

const TIMEOUT_MS = 180_000;
const PARALLEL = 2;
const OUTPUT_LINES = 80;

/** The long ones first, so that the short ones fill the second place. */
const CHECKS: readonly Check[] = [
  { name: 'types', command: ['tsc', '-p', 'tsconfig.json'] },
  { name: 'unit tests', command: ['vitest', 'run', '--project', 'unit', '--reporter=dot'] },
  { name: 'unused code (knip)', command: ['knip', '--no-progress'] },
  {
    name: 'import rules',
    command: [
      ...['depcruise', '--config', '.dependency-cruiser.cjs'],
      ...['engine', 'protocol', 'operator', 'relay-image', 'node-agent'],
    ],
  },
  { name: 'lock file', command: ['node', 'scripts/completeLock.ts', '--check'] },
  { name: 'effect rules', command: ['node', 'scripts/effectRules.ts'] },
  { name: 'format and lint', command: ['biome', 'ci', '--colors=off', '.'] },
  { name: 'generated CRDs', command: ['node', 'operator/src/api/generateCrds.ts', '--check'] },
  { name: 'generated chart files', command: ['node', 'scripts/chartFiles.ts', '--check'] },
  { name: 'specification pages', command: ['node', 'scripts/specPages.ts', '--check'] },
  { name: 'chart', command: ['node', 'scripts/checkChart.ts'] },
];

export const UNIT_TESTS = 'unit tests';

export async function verify(skip: readonly string[]): Promise<CheckResult[]> {
  const queue = CHECKS.filter((check) => !skip.includes(check.name));
  const results: CheckResult[] = [];
  const worker = async () => {
    for (let check = queue.shift(); check !== undefined; check = queue.shift()) {
      const result = await runCommand(check.command, {
        timeoutMs: TIMEOUT_MS,
        output: 'collect',
        env: { NO_COLOR: '1' },
      });
      const passed = result.exitCode === 0 && !result.timedOut;
      const time = formatDuration(result.durationMs);
      const verdict = passed ? 'ok' : result.timedOut ? 'FAILED (out of time)' : 'FAILED';
      console.log(`verify: ${check.name.padEnd(22)} ${time.padStart(8)}  ${verdict}`);
      if (!passed) console.log(lastLines(result.output));
      results.push({ name: check.name, passed });
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  return results;
}

/** The end of a failed check's output: enough to act on, not a flood. */
function lastLines(output: string): string {
  const lines = output.trimEnd().split('\n');
  const left = lines.length - OUTPUT_LINES;
  return left > 0
    ? [`(${left} lines left out)`, ...lines.slice(left)].join('\n')
    : lines.join('\n');
}

if (import.meta.main) {
  endCommandsOnSignal();
  const startedAt = performance.now();
  const results = await verify([]);
  const failed = results.filter((result) => !result.passed);
  const time = formatDuration(performance.now() - startedAt);
  if (failed.length > 0) {
    console.log(`verify: failed in ${time}: ${failed.map((result) => result.name).join(', ')}`);
    process.exitCode = 1;
  } else {
    console.log(`verify: all ${results.length} checks passed in ${time}`);
  }
}
