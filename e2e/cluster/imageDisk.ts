/**
 * The disk of a containerd that has some images, made once and given to every node: importing
 * takes seconds an image and node, linking the same files none.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { BuildOptions } from './build.ts';
import { cacheFolder, imagesFolder, removeUnused, touch } from './paths.ts';
import { Progress } from './progress.ts';
import { run } from './run.ts';

const IMPORT_TIMEOUT_MS = 10 * 60_000;

/** In namespaces of its own: nothing of it stays mounted or runs on. */
const IMPORT = `
set -e
config=$1; shift
mount -n -t tmpfs tmpfs /run
containerd --config "$config" &
containerd=$!
for i in $(seq 300); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
wanted=' '
for archive; do
  echo "importing $(basename "$archive")"
  said=$(ctr -n k8s.io images import --digests=false "$archive")
  wanted="$wanted$(sed -n 's/^unpacking \\([^ ]*\\) .*/\\1/p' <<<"$said") "
done
for image in $(ctr -n k8s.io images ls -q); do
  case "$wanted" in *" $image "*) ;; *) ctr -n k8s.io images rm --sync "$image" ;; esac
done
kill $containerd
wait $containerd
`;

/** The folder of a disk with the images of these docker-archives; made when it is not there. */
export async function imageDisk(
  archives: readonly string[],
  { log, signal }: BuildOptions,
): Promise<string> {
  const disks = path.join(cacheFolder(), 'disks');
  const disk = path.join(disks, await nameOf(archives));
  if (await touch(disk)) return disk;
  await mkdir(disks, { recursive: true });
  await removeUnused(disks);
  const unfinished = await mkdtemp(path.join(disks, '.making-'));
  const progress = new Progress('images for the nodes', log);
  try {
    const root = path.join(unfinished, 'containerd');
    const before = await newestDisk(disks);
    if (before !== undefined) await copyDisk(before, root);
    const config = path.join(unfinished, 'config.toml');
    await writeFile(
      config,
      `version = 2
root = "${root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd/containerd.sock"
`,
    );
    const unshare = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
    let imported = 0;
    await run(
      'unshare',
      [...unshare, '--propagation', 'private', 'bash', '-c', IMPORT, 'import', config, ...archives],
      {
        signal,
        timeoutMs: IMPORT_TIMEOUT_MS,
        onLine: (line) => {
          if (!line.startsWith('importing ')) return;
          imported += 1;
          progress.update(`${line}, ${imported} of ${archives.length}`);
        },
      },
    );
    await rename(root, disk).catch(async (error: NodeJS.ErrnoException) => {
      // Another run was quicker: its result is the same.
      if (!(await touch(disk))) throw error;
    });
    progress.done('ready');
    return disk;
  } catch (error) {
    progress.stop();
    throw error;
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/**
 * Makes a node's disk of it. Content and layers are never written again, so that all nodes share
 * the files; the databases are each node's own.
 */
export async function copyDisk(disk: string, into: string): Promise<void> {
  const script = `
set -e
mkdir -p "$2"
cp -a --link "$1/." "$2" 2>/dev/null || { rm -rf "$2"; cp -a "$1" "$2"; }
cd "$1"
find . -maxdepth 2 -name '*.db' -exec cp --remove-destination {} "$2/{}" ';'`;
  await run('sh', ['-c', script, 'copy', disk, into], { timeoutMs: IMPORT_TIMEOUT_MS });
}

/** The archives in the cache are named after their content; others change under their name. */
async function nameOf(archives: readonly string[]): Promise<string> {
  const hash = createHash('sha256').update(IMPORT);
  for (const archive of archives) {
    const { size, mtimeMs } = await stat(archive);
    const isOurs = path.dirname(archive) === imagesFolder();
    hash.update(`${path.basename(archive)} ${size} ${isOurs ? '' : mtimeMs}\n`);
  }
  return hash.digest('hex').slice(0, 16);
}

/** The last one that was used: most layers of new images are those of before. */
async function newestDisk(disks: string): Promise<string | undefined> {
  const found: { disk: string; mtimeMs: number }[] = [];
  for (const name of await readdir(disks)) {
    if (name.startsWith('.')) continue;
    const disk = path.join(disks, name);
    found.push({ disk, mtimeMs: (await stat(disk)).mtimeMs });
  }
  return found.sort((a, b) => b.mtimeMs - a.mtimeMs)[0]?.disk;
}
