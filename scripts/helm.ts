/** Where Helm is: on the PATH, or where the test cluster's set-up keeps its binaries. */
import { constants } from 'node:fs';
import { access, glob } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';

/** A Helm that was built from source takes its own guess for the cluster's version: say it. */
export const KUBE_VERSION = '1.34.0';

export async function findHelm(): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(folder, 'helm');
    if (folder && (await isExecutable(file))) return file;
  }
  const cache = process.env.SLUICE_CACHE || path.join(homedir(), '.cache/sluice');
  for await (const file of glob('cluster-*/bin/helm', { cwd: cache })) {
    const candidate = path.join(cache, file);
    if (await isExecutable(candidate)) return candidate;
  }
  return undefined;
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
