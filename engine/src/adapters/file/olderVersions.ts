import path from 'node:path';
import type { FileSystem } from './fileSystem.ts';
import { nodeFileSystem } from './nodeFileSystem.ts';
import { StateFile } from './stateFile.ts';

/**
 * Removes versions beside this one that are older, but for the newest `keep` that are whole: pods
 * may still run on those. What an epoch that was given up has left serves nobody. Of which we cannot
 * tell, because another release has noted it, or its note is gone, that stays besides.
 */
export async function removeOlderVersions(
  folder: string,
  keep: number,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<void> {
  const parent = path.dirname(folder);
  const own = Number(path.basename(folder));
  const names = await fileSystem.list(parent);
  const epochs = new Set(names.map((name) => Number(/^\d+/.exec(name)?.[0] ?? Number.NaN)));
  const older = [...epochs].filter((epoch) => epoch < own).sort((a, b) => b - a);
  let kept = 0;
  for (const epoch of older) {
    const version = path.join(parent, String(epoch));
    const told = await StateFile.told(version, fileSystem);
    if (told === 'untold') continue;
    if (told === 'whole' && kept < keep) {
      kept += 1;
      continue;
    }
    // First: where it is without a note, as a removal may leave it, we could not tell the next time.
    await fileSystem.remove(`${version}.files`);
    for (const name of names) {
      if (name !== String(epoch) && !name.startsWith(`${epoch}.`)) continue;
      await fileSystem.remove(path.join(parent, name));
    }
  }
}
