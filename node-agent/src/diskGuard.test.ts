import { describe, expect, it } from 'vitest';
import { checkSpace } from './diskGuard.ts';

const GIB = 2 ** 30;

describe('the space on a disk', () => {
  it('lets files in that leave the part that must stay free', () => {
    checkSpace({ freeBytes: 25 * GIB, totalBytes: 100 * GIB }, 10 * GIB, 15);
    checkSpace({ freeBytes: GIB, totalBytes: 100 * GIB }, 0, 15);
    checkSpace({ freeBytes: GIB, totalBytes: 100 * GIB }, GIB, 0);
  });

  it('names free, needed and kept bytes when it does not suffice', () => {
    const check = () => checkSpace({ freeBytes: 20 * GIB, totalBytes: 100 * GIB }, 6 * GIB, 15);
    expect(check).toThrow(
      expect.objectContaining({
        code: 'DiskPressure',
        message: expect.stringMatching(/20\.00 GiB free of 100\.00 .* 6\.00 GiB and 15 % \(15\.00/),
      }),
    );
  });
});
