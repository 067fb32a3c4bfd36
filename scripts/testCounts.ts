/** Counts of passed and failed tests, from vitest's JSON report. */
import { readFile } from 'node:fs/promises';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/** A suite that says nothing usable. */
export const failedSuite: Counts = { passed: 0, failed: 1 };

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

export function sum(counts: readonly Counts[]): Counts {
  return {
    passed: counts.reduce((total, one) => total + one.passed, 0),
    failed: counts.reduce((total, one) => total + one.failed, 0),
  };
}

/** Counts of the report in `file`; a report that is missing or broken is one failure. */
export async function readCounts(file: string, exitCode: number): Promise<Counts> {
  let report: Report;
  try {
    report = JSON.parse(await readFile(file, 'utf8')) as Report;
  } catch {
    return failedSuite;
  }
  return countReport(report, exitCode);
}

export function countReport(report: Report, exitCode: number): Counts {
  // A file that cannot be loaded, or whose hooks fail, is `failed` without a failed test in it.
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((t) => t.status === 'failed'),
  ).length;
  const failed = report.numFailedTests + brokenFiles;
  // An error outside every test only shows in the exit code.
  return { passed: report.numPassedTests, failed: failed === 0 && exitCode !== 0 ? 1 : failed };
}
