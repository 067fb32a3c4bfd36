import { readFileSync } from 'node:fs';
import path from 'node:path';
import { repositoryRoot } from '../../e2e/cluster/paths.ts';

/** What the image sets for its process, so that a benchmark measures the process as it is shipped. */
export function imageEnvironment(
  image: 'node-agent' | 'relay-image' | 'operator',
): Record<string, string> {
  return parseEnvironment(readFileSync(path.join(repositoryRoot, image, 'Dockerfile'), 'utf8'));
}

/** The ENV lines of a Dockerfile that set one variable, in double quotes or without. PURE. */
export function parseEnvironment(dockerfile: string): Record<string, string> {
  const lines = dockerfile.matchAll(/^ENV ([A-Z_]+)=(?:"([^"]*)"|(\S+))$/gm);
  return Object.fromEntries([...lines].map(([, name, quoted, bare]) => [name, quoted ?? bare]));
}
