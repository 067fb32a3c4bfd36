/** Builds images with buildah, in a storage of our own under the cache, without a daemon. */
import { mkdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { cacheFolder } from './paths.ts';
import { type RunOptions, run } from './run.ts';

const BUILD_TIMEOUT_MS = 15 * 60_000;

export interface ImageBuild {
  readonly name: string;
  readonly context: string;
  readonly dockerfile: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** Folders of this machine that the build's commands may use, `outside:inside`. */
  readonly volumes?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

let driver: Promise<string> | undefined;

/** Overlay shares layers between images; vfs copies them, but works on every file system. */
function storageDriver(): Promise<string> {
  driver ??= buildahWith('overlay', ['info'], {}).then(
    () => 'overlay',
    () => 'vfs',
  );
  return driver;
}

function buildahWith(name: string, args: readonly string[], options: RunOptions): Promise<string> {
  const storage = path.join(cacheFolder(), 'buildah', name);
  const global = ['--storage-driver', name, '--root', storage, '--runroot', `${storage}-run`];
  return run('buildah', [...global, ...args], { timeoutMs: BUILD_TIMEOUT_MS, ...options });
}

async function buildah(args: readonly string[], options: RunOptions = {}): Promise<string> {
  return buildahWith(await storageDriver(), args, options);
}

export async function buildImage(build: ImageBuild): Promise<void> {
  const { name, context, dockerfile, buildArgs = {}, volumes = [], signal } = build;
  await buildah(
    [
      ...['bud', '--isolation', 'chroot', '--layers', '--pull-never', '--tag', name],
      ...['--file', dockerfile],
      ...Object.entries(buildArgs).flatMap(([key, value]) => ['--build-arg', `${key}=${value}`]),
      ...volumes.flatMap((volume) => ['--volume', volume]),
      context,
    ],
    { signal },
  );
}

export function hasImage(name: string): Promise<boolean> {
  return buildah(['inspect', '--type', 'image', name]).then(
    () => true,
    () => false,
  );
}

/** As an archive that `ctr images import` reads; appears only when it is whole. */
export async function saveImage(
  name: string,
  archive: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const unfinished = `${archive}.unfinished-${process.pid}`;
  await mkdir(path.dirname(archive), { recursive: true });
  await buildah(['push', name, `docker-archive:${unfinished}:${name}`], { signal });
  await rename(unfinished, archive);
}
