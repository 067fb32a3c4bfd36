/**
 * Control groups of the cluster, version 1 or 2. `<cluster>/<node>/system` holds a node's own
 * processes, `<cluster>/<node>/kubepods` is made by its kubelet; the node's group freezes both.
 */
import { access, glob, mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const ROOT = '/sys/fs/cgroup';

/** The folders in which groups are made: one with version 2, one a controller with version 1. */
async function hierarchies(): Promise<{ version: 1 | 2; folders: string[] }> {
  const unified = await access(path.join(ROOT, 'cgroup.controllers')).then(
    () => true,
    () => false,
  );
  if (unified) return { version: 2, folders: [ROOT] };
  const entries = await readdir(ROOT, { withFileTypes: true });
  const folders = entries
    // Some are symbolic links to others; `unified` is version 2 without controllers.
    .filter((entry) => entry.isDirectory() && entry.name !== 'unified')
    .map((entry) => path.join(ROOT, entry.name));
  return { version: 1, folders };
}

/** The kubelet and runc make groups in the hierarchy without controllers, too. */
async function foldersWithGroups(): Promise<string[]> {
  return [...(await hierarchies()).folders, path.join(ROOT, 'unified')];
}

/** Makes a node's groups; its own processes join by `joinScript`. */
export async function makeNodeGroups(cluster: string, node: string): Promise<void> {
  const { version, folders } = await hierarchies();
  for (const folder of folders) {
    let group = folder;
    for (const part of [cluster, node, 'system']) {
      if (version === 2) await delegate(group);
      group = path.join(group, part);
      await mkdir(group, { recursive: true });
      // A cpuset of version 1 starts empty and then takes no process.
      if (path.basename(folder).includes('cpuset')) await fillCpuset(group);
    }
  }
}

async function fillCpuset(group: string): Promise<void> {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    const of = await readFile(path.join(path.dirname(group), file), 'utf8').catch(() => undefined);
    if (of !== undefined) await writeFile(path.join(group, file), of.trim());
  }
}

/** Version 2: children get the controllers that their parent passes on. */
async function delegate(group: string): Promise<void> {
  const names = await readFile(path.join(group, 'cgroup.controllers'), 'utf8').catch(() => '');
  for (const name of names.trim().split(' ')) {
    if (name === '') continue;
    await writeFile(path.join(group, 'cgroup.subtree_control'), `+${name}`).catch(() => {});
  }
}

/** Shell: moves the shell itself into a node's group for its own processes. */
export function joinScript(cluster: string, node: string): string {
  const group = `${cluster}/${node}/system/cgroup.procs`;
  return `for f in ${ROOT}/${group} ${ROOT}/*/${group}; do [ ! -e "$f" ] || echo 0 >"$f"; done`;
}

const FREEZE_TIMEOUT_MS = 10_000;

/** Stops every process of a node where it is, or lets all go on. */
export async function setFrozen(cluster: string, node: string, frozen: boolean): Promise<void> {
  const { version } = await hierarchies();
  const group =
    version === 2 ? path.join(ROOT, cluster, node) : path.join(ROOT, 'freezer', cluster, node);
  const [file, order] =
    version === 2
      ? ['cgroup.freeze', frozen ? '1' : '0']
      : ['freezer.state', frozen ? 'FROZEN' : 'THAWED'];
  const reached = async () => {
    if (version === 1) return (await readFile(path.join(group, file), 'utf8')).trim() === order;
    const events = await readFile(path.join(group, 'cgroup.events'), 'utf8');
    return events.includes(`frozen ${order}`);
  };
  const giveUpAt = performance.now() + FREEZE_TIMEOUT_MS;
  // Version 1 may need the order again while processes come and go.
  do {
    await writeFile(path.join(group, file), order);
    if (await reached()) return;
    await sleep(10);
  } while (performance.now() < giveUpAt);
  throw new Error(`node ${node} does not become ${order}`);
}

/** Names of clusters that have groups, running or not. */
export async function clustersWithGroups(prefix: string): Promise<string[]> {
  const names = new Set<string>();
  for (const folder of await foldersWithGroups()) {
    for (const name of await readdir(folder).catch(() => []))
      if (name.startsWith(prefix)) names.add(name);
  }
  return [...names];
}

/** Whether a process is in any group of a cluster. */
export async function hasProcesses(cluster: string): Promise<boolean> {
  for (const folder of await foldersWithGroups()) {
    const files = glob('**/cgroup.procs', { cwd: path.join(folder, cluster) });
    for await (const file of files) {
      const processes = await readFile(path.join(folder, cluster, file), 'utf8').catch(() => '');
      if (processes.trim() !== '') return true;
    }
  }
  return false;
}

/** How long the kernel may take to let the last processes out of a group. */
const REMOVE_TIMEOUT_MS = 10_000;

/** Removes all groups of a cluster, or of `cluster/node`, whose processes have ended. */
export async function removeGroups(
  cluster: string,
  timeoutMs: number = REMOVE_TIMEOUT_MS,
): Promise<void> {
  for (const folder of await foldersWithGroups()) {
    const group = path.join(folder, cluster);
    const giveUpAt = performance.now() + timeoutMs;
    while (!(await removeTree(group))) {
      if (performance.now() > giveUpAt) throw new Error(`${group} cannot be removed: in use`);
      await sleep(50);
    }
  }
}

/** Deepest first; the files in them go with the folder. */
async function removeTree(group: string): Promise<boolean> {
  const entries = await readdir(group, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.isDirectory() && !(await removeTree(path.join(group, entry.name)))) return false;
  }
  return rmdir(group).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}
