/** Where Helm is: on the PATH, or where the test cluster's set-up keeps its binaries. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, glob } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

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

/** What the chart makes with these values (`name=value`), hooks included. */
export async function renderChart<T>(values: readonly string[] = []): Promise<T[]> {
  const helm = await findHelm();
  if (helm === undefined) throw new Error('no helm: run `make setup`');
  const chart = path.resolve(import.meta.dirname, '../helm/sluice');
  const set = values.flatMap((value) => ['--set', value]);
  const args = ['template', 'sluice', chart, '--namespace', 'sluice-system'];
  const { stdout } = await promisify(execFile)(
    helm,
    [...args, '--kube-version', KUBE_VERSION, ...set],
    { maxBuffer: 16 * 1024 * 1024 },
  );
  return parseAllDocuments(stdout)
    .map((document) => {
      // Such as a key that stands twice, of which the API server takes the last.
      for (const error of document.errors) throw error;
      return document.toJS() as T | null;
    })
    .filter((object) => object !== null);
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}
