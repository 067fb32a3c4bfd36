import { describe, expect, it } from 'vitest';
import { checkShare } from './diskGuard.ts';

const GIB = 2 ** 30;

describe('the share of a namespace', () => {
  const demand = (usedBytes: number, neededBytes: number) => ({
    namespace: 'team',
    usedBytes,
    neededBytes,
  });

  it.each([
    ['nothing is there', demand(0, 10 * GIB), 10 * GIB],
    ['it is just filled', demand(6 * GIB, 4 * GIB), 10 * GIB],
    ['nothing is needed, though it was lowered', demand(6 * GIB, 0), 5 * GIB],
    ['there is no limit', demand(600 * GIB, 600 * GIB), Number.POSITIVE_INFINITY],
  ])('lets files in when %s', (_case, wanted, shareBytes) => {
    checkShare(wanted, shareBytes);
  });

  it('names the namespace, and used, allowed and needed bytes, when it does not suffice', () => {
    expect(() => checkShare(demand(7 * GIB, 4 * GIB), 10 * GIB)).toThrow(
      expect.objectContaining({
        code: 'NamespaceShareExceeded',
        message: expect.stringMatching(/'team' have 7\.00 GiB .* of 10\.00 GiB .* need 4\.00 GiB/),
      }),
    );
    expect(() => checkShare(demand(0, 1), 0)).toThrow();
  });
});
