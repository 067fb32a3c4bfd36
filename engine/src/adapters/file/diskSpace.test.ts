import { describe, expect, it } from 'vitest';
import { checkSpace } from './diskSpace.ts';

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
