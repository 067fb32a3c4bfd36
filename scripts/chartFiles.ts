/**
 * Writes what the chart takes from elsewhere, into helm/sluice/files/: the CRDs and the operator's
 * rights. A chart can only read files inside its folder. With `--check` it tells what is stale.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Permission, permissions } from '../operator/src/kube/permissions.ts';

const root = path.resolve(import.meta.dirname, '..');
const target = path.join(root, 'helm/sluice/files');

const expected = await expectedFiles();
const present = await presentFiles();

if (process.argv.includes('--check')) {
  const names = new Set([...expected.keys(), ...present.keys()]);
  const stale = [...names].filter((name) => expected.get(name) !== present.get(name)).sort();
  if (stale.length > 0) {
    const list = stale.map((name) => `helm/sluice/files/${name}`).join(', ');
    console.error(`stale: ${list}. Run: node scripts/chartFiles.ts`);
    process.exitCode = 1;
  }
} else {
  for (const name of present.keys()) {
    if (!expected.has(name)) await rm(path.join(target, name));
  }
  for (const [name, content] of expected) {
    await mkdir(path.dirname(path.join(target, name)), { recursive: true });
    await writeFile(path.join(target, name), content);
  }
}

async function expectedFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const name of (await readdir(path.join(root, 'crds'))).sort()) {
    if (name.endsWith('.yaml')) {
      files.set(`crds/${name}`, await readFile(path.join(root, 'crds', name), 'utf8'));
    }
  }
  files.set(
    'permissions.yaml',
    '# Generated from operator/src/kube/permissions.ts by scripts/chartFiles.ts; not edited by hand.\n' +
      `cluster:\n${rules(permissions.cluster)}namespace:\n${rules(permissions.namespace)}` +
      Object.entries(permissions.workloads)
        .map(([name, list]) => `${name}:\n${rules(list)}`)
        .join('') +
      `uninstall:\n  cluster:\n${rules(permissions.uninstall.cluster, '  ')}` +
      `  namespace:\n${rules(permissions.uninstall.namespace, '  ')}`,
  );
  return files;
}

/** RBAC rules, each under a comment with its reason. */
function rules(list: readonly Permission[], indent = ''): string {
  return list
    .map(({ reason, ...rule }) => {
      const fields = Object.entries(rule).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
      return `${indent}  # ${reason}\n${indent}  - ${fields.join(`\n${indent}    `)}\n`;
    })
    .join('');
}

async function presentFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const entries = await readdir(target, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((e) => e.isFile())) {
    const file = path.join(entry.parentPath, entry.name);
    const name = path.relative(target, file).split(path.sep).join('/');
    files.set(name, await readFile(file, 'utf8'));
  }
  return files;
}
