/** Images of one static binary: a docker-archive is a tar file of tar files and a manifest. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { run } from './run.ts';

export interface BinaryImage {
  readonly name: string;
  readonly binary: string;
  readonly args: readonly string[];
  /** Empty folders that anybody may write to. */
  readonly folders?: readonly string[];
  readonly archive: string;
}

/** Writes the archive; does nothing else, so callers name it after its content. */
export async function writeBinaryImage(image: BinaryImage): Promise<void> {
  const work = await mkdtemp(path.join(tmpdir(), 'sluice-image-'));
  try {
    const entry = path.basename(image.binary);
    const root = path.join(work, 'root');
    const folders = (image.folders ?? []).map((folder) => path.join(root, folder));
    await mkdir(root, { recursive: true });
    for (const folder of folders) await mkdir(folder, { recursive: true });
    await run('cp', [image.binary, path.join(root, entry)]);
    if (folders.length > 0) await run('chmod', ['0777', ...folders]);
    const tar = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@0'];
    await run('tar', [...tar, '-C', root, '-cf', path.join(work, 'layer.tar'), '.']);
    const layer = createHash('sha256').update(await readFile(path.join(work, 'layer.tar')));
    const config = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Entrypoint: [`/${entry}`, ...image.args] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${layer.digest('hex')}`] },
      history: [{ created_by: 'sluice' }],
    });
    await writeFile(path.join(work, 'config.json'), config);
    const manifest = [{ Config: 'config.json', RepoTags: [image.name], Layers: ['layer.tar'] }];
    await writeFile(path.join(work, 'manifest.json'), JSON.stringify(manifest));
    const unfinished = `${image.archive}.unfinished-${process.pid}`;
    const parts = ['manifest.json', 'config.json', 'layer.tar'];
    await run('tar', [...tar, '-C', work, '-cf', unfinished, ...parts]);
    await rename(unfinished, image.archive);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
