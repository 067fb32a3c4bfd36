/** Container images for the test cluster, kept in the cache under the hash of what is in them. */
import { access, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { writeBinaryImage } from './binaryImage.ts';
import { buildTools } from './build.ts';
import { PAUSE_IMAGE } from './node.ts';
import { cacheFolder } from './paths.ts';

export async function pauseImage(): Promise<string> {
  const tools = await buildTools();
  const hash = path.basename(path.dirname(tools));
  const archive = path.join(await imagesFolder(), `pause-${hash}.tar`);
  if (await exists(archive)) return archive;
  await writeBinaryImage({
    name: PAUSE_IMAGE,
    binary: path.join(tools, 'pause'),
    args: [],
    archive,
  });
  return archive;
}

async function imagesFolder(): Promise<string> {
  const folder = path.join(cacheFolder(), 'images');
  await mkdir(folder, { recursive: true });
  return folder;
}

function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
