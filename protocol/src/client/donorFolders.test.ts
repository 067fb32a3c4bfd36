import { beforeEach, describe, expect, it } from 'vitest';
import { DonorFolders } from './donorFolders.ts';

let whole: () => Promise<string[]>;
let isLacking: boolean;
let renewed: number;
let attempt: number;
let donors: DonorFolders;

beforeEach(() => {
  whole = async () => ['a'];
  isLacking = true;
  renewed = 0;
  attempt = 1;
  donors = new DonorFolders({
    life: {
      renewer: () => {
        const mine = attempt;
        return () => {
          if (mine === attempt) renewed += 1;
        };
      },
    },
    whole: () => whole(),
    isLacking: () => isLacking,
  });
});

describe('a look for other versions that have become whole', () => {
  it('lets the attempt begin anew when there is one that it does not take from', async () => {
    expect(await donors.take()).toEqual(['a']);
    await donors.look();
    expect(renewed).toBe(0);
    whole = async () => ['a', 'b'];
    await donors.look();
    expect(renewed).toBe(1);
  });

  it('does nothing for an attempt that lacks nothing, or when they cannot be read', async () => {
    isLacking = false;
    await donors.look();
    isLacking = true;
    whole = () => Promise.reject(new Error('no such folder'));
    await donors.look();
    expect(renewed).toBe(0);
  });

  it('is of the attempt during which it began', async () => {
    let go: (folders: string[]) => void = () => {};
    whole = () =>
      new Promise((resolve) => {
        go = resolve;
      });
    const looking = donors.look();
    attempt = 2;
    go(['b']);
    await looking;
    expect(renewed).toBe(0);
  });
});
