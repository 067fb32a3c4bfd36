/** What passed and what failed, from vitest's JSON report. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';

export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/** A suite that says nothing usable. */
export const failedSuite: Counts = { passed: 0, failed: 1 };

/** A suite's end: its counts, and of each failure where it is and the first lines of why. */
export interface SuiteResult extends Counts {
  readonly failures: readonly string[];
}

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name?: string;
    readonly message?: string;
    readonly status: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName?: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/** As many lines of a failure's message as usually hold what was expected and where. */
const LINES_A_FAILURE = 8;

export function sum(counts: readonly Counts[]): Counts {
  return {
    passed: counts.reduce((total, one) => total + one.passed, 0),
    failed: counts.reduce((total, one) => total + one.failed, 0),
  };
}

/** The report in `file`; one that is missing or broken is one failure. */
export async function readResult(file: string, exitCode: number): Promise<SuiteResult> {
  let report: Report;
  try {
    report = JSON.parse(await readFile(file, 'utf8')) as Report;
  } catch {
    return { ...failedSuite, failures: ['the suite ended without a report'] };
  }
  return { ...countReport(report, exitCode), failures: failuresOf(report) };
}

export function countReport(report: Report, exitCode: number): Counts {
  const failed = report.numFailedTests + report.testResults.filter(isBrokenFile).length;
  // An error outside every test only shows in the exit code.
  return { passed: report.numPassedTests, failed: failed === 0 && exitCode !== 0 ? 1 : failed };
}

/** A file that cannot be loaded, or whose hooks fail, is `failed` without a failed test in it. */
function isBrokenFile(file: Report['testResults'][number]): boolean {
  return file.status === 'failed' && !file.assertionResults.some((t) => t.status === 'failed');
}

function failuresOf({ testResults }: Report): string[] {
  return testResults.flatMap((file) => {
    const where = file.name ? path.relative(process.cwd(), file.name) : '?';
    if (isBrokenFile(file)) return [describe(where, file.message)];
    return file.assertionResults
      .filter((test) => test.status === 'failed')
      .map((test) => describe(`${where} > ${test.fullName}`, test.failureMessages?.[0]));
  });
}

function describe(title: string, message = ''): string {
  const lines = stripVTControlCharacters(message).split('\n').filter(Boolean);
  return [title, ...lines.slice(0, LINES_A_FAILURE).map((line) => `  ${line}`)].join('\n');
}
