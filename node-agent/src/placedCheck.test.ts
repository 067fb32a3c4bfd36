import { chmod, mkdir, mkdtemp, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { placedDamage } from './placedCheck.ts';

const layout = layoutOf(
  [
    { path: 'a.bin', sizeBytes: 4 },
    { path: 'folder/b.bin', sizeBytes: 4 },
  ],
  262_144,
);

/** Every wait is over at once. */
const impatient: Clock = { ...systemClock, setTimer: (_ms, act) => systemClock.setTimer(0, act) };

const NOTHING = Promise.resolve();

let root: string;
let paths: { versionFolder: string; link: string };

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-placed-'));
  paths = { versionFolder: path.join(root, '.sluice/uid/1'), link: path.join(root, 'model') };
  await mkdir(path.join(paths.versionFolder, 'folder'), { recursive: true });
  for (const file of layout.files) {
    await writeFile(path.join(paths.versionFolder, file.path), 'good');
  }
  await symlink('.sluice/uid/1', paths.link);
  await writeFile(`${paths.versionFolder}.state`, '');
});
afterEach(() => rm(root, { recursive: true, force: true }));

const file = (name: string) => path.join(paths.versionFolder, name);

/** The kernel's clock ticks every few milliseconds. */
const tick = () => new Promise<void>((resolve) => systemClock.setTimer(50, resolve));

function damage(
  overrides: { bad?: number; isSuspicious?: boolean; ownChanges?: () => Promise<void> } = {},
  signal = AbortSignal.timeout(5_000),
) {
  const { bad, isSuspicious = false, ownChanges = () => NOTHING } = overrides;
  return placedDamage(
    { layout, paths, lookMs: 1, rehashMs: 1, isSuspicious },
    {
      store: {
        recheck: async (piece) => piece !== bad,
        get ownChanges() {
          return ownChanges();
        },
      },
      clock: impatient,
      random: () => 0.5,
    },
    signal,
  );
}

describe('a placed version', () => {
  it('is damaged by nothing while nobody touches it', async () => {
    expect(await damage({}, AbortSignal.timeout(100))).toBeUndefined();
  });

  it.each([
    ['a file that is gone', () => rm(file('folder/b.bin')), 'folder/b.bin is gone'],
    ['a file cut short', () => truncate(file('a.bin'), 2), 'a.bin has another size'],
    [
      'a file that was changed and dated back',
      async () => {
        await tick();
        await writeFile(file('a.bin'), 'evil');
        await utimes(file('a.bin'), 0, 0);
      },
      'a.bin was changed',
    ],
    [
      'its record gone',
      () => rm(`${paths.versionFolder}.state`),
      'the record of the version is gone',
    ],
  ])('is damaged by %s', async (_, act, what) => {
    await act();
    expect(await damage()).toEqual({ kind: 'changed', what });
  });

  it('is not damaged by what its own store is changing', async () => {
    await tick();
    await chmod(file('a.bin'), 0o600);
    const changing = tick()
      .then(tick)
      .then(() => writeFile(`${paths.versionFolder}.state`, ''));
    const found = await damage({ ownChanges: () => changing }, AbortSignal.timeout(300));
    expect(found).toBeUndefined();
  });

  it('is not damaged by what its own store began to change while it was looked at', async () => {
    await tick();
    await chmod(file('a.bin'), 0o600);
    let looks = 0;
    const changing = tick().then(() => writeFile(`${paths.versionFolder}.state`, ''));
    const ownChanges = () => {
      looks += 1;
      return looks === 1 ? NOTHING : changing;
    };
    expect(await damage({ ownChanges }, AbortSignal.timeout(300))).toBeUndefined();
    expect(looks).toBeGreaterThan(2);
  });

  it('is damaged by others while its own store has changed something, too', async () => {
    await tick();
    await writeFile(file('a.bin'), 'evil');
    const before = tick();
    expect((await damage({ ownChanges: () => before }))?.what).toBe('a.bin was changed');
  });

  it('is damaged when its link leads elsewhere', async () => {
    await rm(paths.link);
    await symlink('.sluice/uid/2', paths.link);
    expect((await damage())?.what).toContain('does not lead to the version');
  });

  it.each([false, true])(
    'is damaged by a piece that rots (suspicious: %s)',
    async (isSuspicious) => {
      expect(await damage({ bad: 1, isSuspicious })).toEqual({
        kind: 'rotten',
        what: 'piece 1 is not as it was written',
      });
    },
  );
});
