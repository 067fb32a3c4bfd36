/**
 * Adds to package-lock.json the platform packages that npm left out because the registry in use
 * does not carry them. `npm ci` refuses a lock without them, even where they would not be
 * installed. They get the exact version that their owner asks for, and no hash: npm fetches one
 * only on its own platform. With `--check` it only tells whether some are missing.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

interface Entry {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  cpu?: string[];
  os?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

const file = path.resolve(import.meta.dirname, '../package-lock.json');
const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, Entry> };
const missing: [string, Entry][] = [];

for (const [at, owner] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(owner.optionalDependencies ?? {})) {
    const nested = `${at}/node_modules/${name}`;
    const hoisted = `node_modules/${name}`;
    if (nested in lock.packages || hoisted in lock.packages) continue;
    const platform = platformOf(name);
    if (platform === undefined || !/^\d+\.\d+\.\d+/.test(version)) {
      throw new Error(
        `${at} wants ${name}@${version}, which the lock lacks: run npm install with a full registry`,
      );
    }
    missing.push([
      hoisted,
      { version, ...platform, ...(owner.dev ? { dev: true } : {}), optional: true },
    ]);
  }
}

if (process.argv.includes('--check')) {
  if (missing.length > 0) {
    const names = missing.map(([at]) => at).join(', ');
    console.error(`package-lock.json lacks ${names}: run node scripts/completeLock.ts`);
    process.exitCode = 1;
  }
} else if (missing.length > 0) {
  const [root, ...rest] = Object.entries(lock.packages);
  rest.push(...missing);
  rest.sort(([a], [b]) => a.localeCompare(b, 'en'));
  lock.packages = Object.fromEntries([root!, ...rest]);
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`package-lock.json: added ${missing.length} platform packages`);
}

/** Read from the name, such as binding-linux-arm64-musl or cli-darwin-x64. */
function platformOf(name: string): Entry | undefined {
  const match = /-(android|darwin|freebsd|linux|openharmony|win32)-([a-z0-9]+)(?:-([a-z]+))?$/.exec(
    name,
  );
  if (match === null) return undefined;
  const [, os = '', cpu = '', variant] = match;
  const entry: Entry = { cpu: [cpu], os: [os] };
  if (os === 'linux' && variant === 'musl') entry.libc = ['musl'];
  if (os === 'linux' && variant === 'gnu') entry.libc = ['glibc'];
  return entry;
}
