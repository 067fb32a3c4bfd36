import { describe, expect, it } from 'vitest';
import type { NodeProgress } from '../controllers/dataSide.ts';
import { aReport } from '../testing/objects.ts';
import { type Failures, withRetries } from './retries.ts';

const error = { reason: 'DiskFull', message: 'no space left on device' };
const failed = aReport('n1', { state: 'failed', verifiedBytes: 500, error });

/** The states that users see of n1, of which this is reported at these times. */
function seen(...reports: readonly (readonly [number, NodeProgress])[]): string[] {
  let failures: Failures = new Map();
  return reports.map(([nowMs, report]) => {
    const looked = withRetries([report, aReport('n2')], failures, nowMs);
    failures = looked.failures;
    expect(looked.nodes[1]).toEqual(aReport('n2'));
    const [node] = looked.nodes;
    return [node?.state, node?.error?.reason].filter(Boolean).join(' ');
  });
}

describe('a node that has failed', () => {
  it('has failed while it tries again and nothing comes of it', () => {
    const trying = aReport('n1', { verifiedBytes: 500 });
    const verifying = aReport('n1', { state: 'verifying' });
    expect(seen([0, failed], [1_000, verifying], [2_000, trying], [3_000, failed])).toEqual(
      Array(4).fill('failed DiskFull'),
    );
  });

  it('says the reason for which it failed last', () => {
    const other = { reason: 'DiskFailed', message: 'input/output error' };
    const again = { ...failed, error: other };
    expect(seen([0, failed], [1_000, again], [2_000, aReport('n1')])).toEqual([
      'failed DiskFull',
      'failed DiskFailed',
      'failed DiskFailed',
    ]);
  });

  it.each([
    ['it has more bytes than before', 1_000, aReport('n1', { verifiedBytes: 501 }), 'transferring'],
    ['it is ready', 1_000, aReport('n1', { state: 'ready' }), 'ready'],
    ['it waits for bytes for a minute', 60_000, aReport('n1'), 'transferring'],
  ])('has not when %s, and not afterwards', (_case, nowMs, report, state) => {
    const later = aReport('n1', { state: 'pending' });
    expect(seen([0, failed], [nowMs, report], [nowMs + 1, later])).toEqual([
      'failed DiskFull',
      state,
      'pending',
    ]);
  });
});
