/** Writes crds/ from the schemas; with --check it writes nothing and fails when they differ. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import { type CustomResourceDefinition, customResourceDefinitions } from './customResources.ts';

const FOLDER = path.resolve(import.meta.dirname, '../../../crds');
const HEADER =
  '# Generated from operator/src/api by `node operator/src/api/generateCrds.ts`; do not edit.\n';

/** File name and text of each CRD. */
export function crdFiles(): { readonly name: string; readonly text: string }[] {
  return customResourceDefinitions.map((definition) => ({
    name: `${definition.metadata.name}.yaml`,
    text: HEADER + toYaml(definition),
  }));
}

/** Names of the files that are not what the schemas say. */
export async function staleCrdFiles(folder: string): Promise<string[]> {
  const stale: string[] = [];
  for (const { name, text } of crdFiles()) {
    const written = await readFile(path.join(folder, name), 'utf8').catch(() => undefined);
    if (written !== text) stale.push(name);
  }
  return stale;
}

function toYaml(definition: CustomResourceDefinition): string {
  return stringify(definition, { lineWidth: 0, aliasDuplicateObjects: false });
}

if (import.meta.main) {
  if (process.argv.includes('--check')) {
    const stale = await staleCrdFiles(FOLDER);
    for (const name of stale) {
      console.error(`crds/${name} is stale: run node operator/src/api/generateCrds.ts`);
    }
    process.exitCode = stale.length > 0 ? 1 : 0;
  } else {
    for (const { name, text } of crdFiles()) await writeFile(path.join(FOLDER, name), text);
  }
}
