import { describe, expect, it } from 'vitest';
import { checkShare, checkSpace } from './diskGuard.ts';

const GIB = 2 ** 30;
const alone = (neededBytes: number) => ({ neededBytes, promisedBytes: 0 });

describe('the space on a disk', () => {
  it('lets files in that leave the part that must stay free', () => {
    checkSpace({ freeBytes: 25 * GIB, totalBytes: 100 * GIB }, alone(10 * GIB), 15);
    checkSpace({ freeBytes: GIB, totalBytes: 100 * GIB }, alone(0), 15);
    checkSpace({ freeBytes: GIB, totalBytes: 100 * GIB }, alone(GIB), 0);
  });

  it('is not there twice: what others are still to write is theirs', () => {
    const space = { freeBytes: 150 * GIB, totalBytes: 200 * GIB };
    const demand = { neededBytes: 100 * GIB, promisedBytes: 50 * GIB };
    checkSpace(space, demand, 0);
    expect(() => checkSpace(space, { ...demand, promisedBytes: 50 * GIB + 1 }, 0)).toThrow(
      /150\.00 GiB free of 200\.00 GiB, and others are still to write 50\.00 GiB; .* need 100\.00/,
    );
  });

  it('names free, needed and kept bytes when it does not suffice', () => {
    const space = { freeBytes: 20 * GIB, totalBytes: 100 * GIB };
    const check = () => checkSpace(space, alone(6 * GIB), 15);
    expect(check).toThrow(
      expect.objectContaining({
        code: 'DiskPressure',
        message: expect.stringMatching(/20\.00 GiB free of 100\.00 .* 6\.00 GiB and 15 % \(15\.00/),
      }),
    );
  });
});

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
