import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskUse } from './diskUse.ts';

let root: string;
let use: DiskUse;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-use-'));
  use = new DiskUse();
});

afterEach(() => rm(root, { recursive: true, force: true }));

function version(namespace: string, uid: string, epoch: number) {
  const namespaceFolder = path.join(root, namespace);
  return { namespaceFolder, versionFolder: path.join(namespaceFolder, '.sluice', uid, `${epoch}`) };
}

type Version = ReturnType<typeof version>;

/** As an earlier run of the agent has left it. */
async function leave({ versionFolder }: Version, ...sizes: readonly number[]): Promise<void> {
  await mkdir(versionFolder, { recursive: true });
  const files = sizes.map((sizeBytes, at) => ({ path: `${at}`, sizeBytes }));
  await writeFile(`${versionFolder}.files`, JSON.stringify({ pieceLengthBytes: 1, files }));
}

/** Admits it, and answers what was in use beside it. */
async function admit(one: Version, sizeBytes: number): Promise<number> {
  let used = -1;
  await use.admit(one, [{ path: 'a', sizeBytes }], async (others) => {
    used = await others.usedBytes();
  });
  return used;
}

describe('what a namespace uses', () => {
  it('are the sets of all its versions on the disk, and of no other namespace', async () => {
    await leave(version('team', 'a', 1), 10, 20);
    await leave(version('team', 'a', 2), 300);
    await leave(version('team', 'b', 7), 4_000);
    await leave(version('other', 'c', 1), 50_000);
    await leave(version('teams', 'd', 1), 600_000);
    expect(await admit(version('team', 'b', 8), 1)).toBe(4_330);
    expect(await admit(version('new', 'e', 1), 1)).toBe(0);
  });

  it('are also those that are begun, once each, whatever is on the disk of them', async () => {
    const [a, b] = [version('team', 'a', 1), version('team', 'b', 1)];
    expect(await Promise.all([admit(a, 10), admit(b, 200)])).toEqual([0, 10]);
    await leave(a, 10);
    expect(await admit(version('team', 'c', 1), 1)).toBe(210);
    // It may be begun again: it is not beside itself.
    expect(await admit(a, 10)).toBe(201);
  });

  it('are no more those that were refused, or ended with nothing on the disk', async () => {
    const [a, b] = [version('team', 'a', 1), version('team', 'b', 1)];
    const refused = use.admit(a, [], () => Promise.reject(new Error('refused')));
    await expect(refused).rejects.toThrow('refused');
    expect(await admit(b, 200)).toBe(0);
    use.release(b);
    expect(await admit(a, 10)).toBe(0);
  });

  it('are as they are now: what was deleted is free, what a task has left counts', async () => {
    const [a, b] = [version('team', 'a', 1), version('team', 'b', 1)];
    await leave(a, 10);
    expect(await admit(b, 200)).toBe(10);
    await leave(b, 200);
    use.release(b);
    expect(await admit(version('team', 'c', 1), 0)).toBe(210);
    await rm(path.dirname(a.versionFolder), { recursive: true });
    expect(await admit(version('team', 'd', 1), 0)).toBe(200);
  });

  it('do not depend on lists that cannot be read', async () => {
    const a = version('team', 'a', 1);
    await leave(a, 10);
    await writeFile(`${version('team', 'a', 2).versionFolder}.files`, 'no list');
    expect(await admit(version('team', 'b', 1), 1)).toBe(10);
  });
});
