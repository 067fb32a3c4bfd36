import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { earlierVersions } from './earlierVersions.ts';
import type { VersionPaths } from './versionPaths.ts';

let root: string;
let paths: VersionPaths;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-earlier-'));
  const namespaceFolder = path.join(root, 'team');
  const distributionFolder = path.join(namespaceFolder, '.sluice/uid');
  paths = {
    namespaceFolder,
    distributionFolder,
    versionFolder: path.join(distributionFolder, '12'),
    link: path.join(namespaceFolder, 'models/llama'),
  };
  await mkdir(path.dirname(paths.link), { recursive: true });
});

afterEach(() => rm(root, { recursive: true, force: true }));

const version = (name: string) => path.join(root, 'team/.sluice', name);

it('looks first into what is visible, then into earlier epochs, newest first', async () => {
  for (const epoch of [2, 9, 11, 12, 13]) await mkdir(version(`uid/${epoch}`), { recursive: true });
  await writeFile(version('uid/10.state'), '');
  await symlink('../.sluice/uid/9', paths.link);
  expect(await earlierVersions(paths)).toEqual(['uid/9', 'uid/11', 'uid/10', 'uid/2'].map(version));
});

it('looks into the version of another distribution that is visible there', async () => {
  await symlink('../.sluice/gone-before/3', paths.link);
  expect(await earlierVersions(paths)).toEqual([version('gone-before/3')]);
});

it.each(['../.sluice/uid/12', '/etc', '../../other/.sluice/uid/1', '../.sluice/uid'])(
  'does not follow a link to %s',
  async (to) => {
    await symlink(to, paths.link);
    expect(await earlierVersions(paths)).toEqual([]);
  },
);
