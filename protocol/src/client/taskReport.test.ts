import { describe, expect, it } from 'vitest';
import { parseReport } from '../validate.ts';
import { reportOf, taskErrorOf } from './taskReport.ts';

function coded(code: string, cause?: unknown): Error {
  return Object.assign(new Error(`because of ${code}`, { cause }), { code });
}

describe('the report of a task', () => {
  it('is one that the control server takes', () => {
    const transfer = reportOf(
      { uid: 'a', epoch: 2 },
      { state: 'failed', bitfield: Uint8Array.of(255), firstByteAtMs: 12.5, error: taskErrorOf(1) },
    );
    const report = { incarnation: '12345678', sequence: 1, transfers: [transfer] };
    expect(parseReport(report)).toBe(report);
    expect(transfer).toMatchObject({ bitfield: '/w==', firstByteAtMs: 13 });
  });

  it.each([
    [coded('DigestMismatch'), 'DigestMismatch'],
    [coded('ENOSPC'), 'DiskFull'],
    [coded('StoreFailed', coded('ENOSPC')), 'DiskFull'],
    [coded('StoreFailed'), 'StoreFailed'],
    [coded('ECONNRESET'), 'TransferFailed'],
    [new Error('no code'), 'TransferFailed'],
    ['text', 'TransferFailed'],
  ])('names the reason of %s', (error, reason) => {
    expect(taskErrorOf(error).reason).toBe(reason);
  });

  it('keeps the message within the bound of the protocol', () => {
    expect(taskErrorOf(new Error('x'.repeat(5_000))).message.length).toBeLessThanOrEqual(1_024);
  });
});
