import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';
import { loadTorrent } from '@sluice/engine/torrent/loadTorrent.ts';
import { describe, expect } from 'vitest';
import { distributionResource } from '../install/resources.ts';
import { sha256OfFile } from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import { MIB, OVERHEAD_BYTES, type Scenario, scenario, takenFromOrigin } from './scenario.ts';

const inSet = (file: OriginFile, folder: string) => file.name.slice(folder.length + 1);

function resourceOf(folder: string, url: string, source: object): object {
  const spec = { source: { url, ...source }, target: { path: folder } };
  return distributionResource({ name: folder, url, spec });
}

const namedBy = (files: readonly OriginFile[], folder: string) =>
  files.map((file) => ({
    path: inSet(file, folder),
    digest: `sha256:${file.sha256}`,
    sizeBytes: file.sizeBytes,
  }));

async function expectSetEverywhere(on: Scenario, folder: string, files: readonly OriginFile[]) {
  for (const node of on.cluster.nodes) {
    const link = on.sluice.placed(node, folder, '');
    expect((await lstat(link.replace(/\/$/, ''))).isSymbolicLink(), node.name).toBe(true);
    const entries = await readdir(link, { recursive: true, withFileTypes: true });
    const found = entries
      .filter((each) => each.isFile())
      .map((each) => path.relative(link, path.join(each.parentPath, each.name)));
    expect(found.sort(), node.name).toEqual(files.map((file) => inSet(file, folder)).sort());
    for (const file of files) {
      const sum = await sha256OfFile(path.join(link, inSet(file, folder)));
      expect(sum, `${file.name} on ${node.name}`).toBe(file.sha256);
    }
  }
}

describe('a folder of files', () => {
  scenario('is on every node, and of an edited list only what differs is fetched', async (on) => {
    const folder = 'model-set';
    const files = [
      await on.putFile(`${folder}/config.json`, 1_200),
      await on.putFile(`${folder}/.ready`, 0),
      await on.putFile(`${folder}/weights/part one.bin`, 12 * MIB),
      await on.putFile(`${folder}/weights/deep/part-2.bin`, 4 * MIB),
    ];
    const url = `${on.cluster.origin.url}/${folder}/`;
    await on.sluice.apply(resourceOf(folder, url, { files: namedBy(files, folder) }));
    const { metadata } = await on.sluice.untilEpoch(folder, 1);
    await expectSetEverywhere(on, folder, files);
    const torrent = await on.sluice.until('its torrent', () => {
      return on.sluice.read.torrent(metadata.uid);
    });
    const inTorrent = loadTorrent(torrent).layout.files;
    expect(inTorrent.map(({ path, sizeBytes }) => [path, sizeBytes]).toSorted()).toEqual(
      files.map((file) => [inSet(file, folder), file.sizeBytes]).toSorted(),
    );
    const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
    const before = await takenFromOrigin(on);
    expect(before).toBeGreaterThanOrEqual(sizeBytes);
    expect(before).toBeLessThan(sizeBytes + OVERHEAD_BYTES);

    const changed = await on.putFile(`${folder}/weights/part-2.bin`, 3 * MIB);
    const next = [...files.slice(0, 3), changed];
    await on.sluice.apply(resourceOf(folder, url, { files: namedBy(next, folder) }));
    await on.sluice.untilEpoch(folder, 2);
    await expectSetEverywhere(on, folder, next);
    const fetched = (await takenFromOrigin(on)) - before;
    expect(fetched).toBeGreaterThanOrEqual(changed.sizeBytes);
    expect(fetched).toBeLessThan(changed.sizeBytes + OVERHEAD_BYTES);
  });

  scenario('is what a list of checksums at the origin names', async (on) => {
    const folder = 'listed-set';
    const files = [
      await on.putFile(`${folder}/a.bin`, 2 * MIB),
      await on.putFile(`${folder}/sub/b.bin`, 1),
    ];
    const list = files.map((file) => `${file.sha256}  ${inSet(file, folder)}\n`).join('');
    await on.cluster.origin.writeFile(`${folder}/SHA256SUMS`, list);
    const url = `${on.cluster.origin.url}/${folder}/`;
    const filesFrom = { path: 'SHA256SUMS' };
    await on.sluice.apply(resourceOf(folder, url, { filesFrom }));
    await on.sluice.untilEpoch(folder, 1);
    await expectSetEverywhere(on, folder, files);
  });
});
