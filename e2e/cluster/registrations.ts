/** What running clusters have written down of themselves, and what ended ones have left. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { clustersWithGroups, hasProcesses, removeGroups } from './cgroups.ts';
import { clustersFolder, removeUnused } from './paths.ts';
import { isAlive, type ProcessId } from './sandbox.ts';

/** What a running cluster writes down, so that others find it, and its remains. */
export interface Registration {
  readonly name: string;
  readonly stateFolder: string;
  readonly ownsStateFolder: boolean;
  readonly detached: boolean;
  readonly init: ProcessId;
  readonly nodes: readonly { name: string; zone: string; process?: ProcessId | undefined }[];
}

const PREFIX = 'sluice-';

export function newClusterName(): string {
  return `${PREFIX}${randomBytes(4).toString('hex')}`;
}

/** What a crashed or killed run left: its processes are gone, its folders and groups are not. */
export async function removeStaleClusters(log: (line: string) => void = () => {}): Promise<void> {
  const known = new Set<string>();
  for (const registration of await registrations()) {
    known.add(registration.name);
    if (await isAlive(registration.init)) continue;
    log(`cluster: removing what ${registration.name} left`);
    await forget(registration);
  }
  // Folders of runs that were killed before they could write their registration.
  const isLeft = (name: string) => name.startsWith(PREFIX) && !known.has(path.parse(name).name);
  await removeUnused(clustersFolder(), isLeft);
  for (const name of await clustersWithGroups(PREFIX)) {
    // One that runs under another cache folder has processes.
    if (!known.has(name) && !(await hasProcesses(name))) await removeGroups(name);
  }
}

export async function forget(
  of: Pick<Registration, 'name' | 'stateFolder' | 'ownsStateFolder'>,
): Promise<void> {
  await removeGroups(of.name);
  const disks = ['nodes', 'etcd', 'origin', 'pki', 'kubeconfigs', 'kubeconfig', 'helm'];
  const gone = of.ownsStateFolder ? ['.'] : disks;
  for (const name of gone) {
    await rm(path.join(of.stateFolder, name), { recursive: true, force: true });
  }
  await rm(registrationFile(of.name), { force: true });
}

function registrationFile(name: string): string {
  return path.join(clustersFolder(), `${name}.json`);
}

export async function writeRegistration(registration: Registration): Promise<void> {
  await mkdir(clustersFolder(), { recursive: true });
  const file = registrationFile(registration.name);
  const unfinished = `${file}.${randomBytes(4).toString('hex')}`;
  await writeFile(unfinished, JSON.stringify(registration, undefined, 1));
  await rename(unfinished, file);
}

export async function registrations(): Promise<Registration[]> {
  const names = await readdir(clustersFolder()).catch(() => []);
  const found: Registration[] = [];
  for (const name of names.sort()) {
    if (!name.startsWith(PREFIX) || !name.endsWith('.json')) continue;
    const text = await readFile(path.join(clustersFolder(), name), 'utf8').catch(() => '');
    if (text !== '') found.push(JSON.parse(text) as Registration);
  }
  return found;
}
