/** Why the Origins do not let a distribution take anything. */
import type { OriginPolicy, OriginRefusal } from '../controllers/dataSide.ts';
import { coveringPolicy } from '../quota/coverage.ts';

/** `files` are the URLs of what is known to be in it, when it is a folder. Undefined: it may. */
export function originRefusal(
  url: string,
  files: readonly string[],
  namespace: string,
  policies: readonly OriginPolicy[],
): OriginRefusal | undefined {
  // No Origin has it: why it is none policies/distribution.ts says.
  if (!URL.canParse(url)) return undefined;
  const policy = coveringPolicy(url, policies);
  const { host } = new URL(url);
  if (!(policy?.namespaces?.includes(namespace) ?? true)) {
    const message = `spec.source.url: '${host}' belongs to the Origin '${policy?.name}', which does not allow the namespace '${namespace}'; label the namespace as its spec.allowedNamespaces asks, or change that`;
    return { reason: 'NamespaceNotAllowed', message };
  }
  return spanRefusal(url, files, policies);
}

/** Why files cannot be one source: other Origins cover some of them. */
export function spanRefusal(
  url: string,
  files: readonly string[],
  policies: readonly OriginPolicy[],
): OriginRefusal | undefined {
  const policy = coveringPolicy(url, policies);
  const { host } = new URL(url);
  // One lease may bring pieces of several files, and counts under one Origin.
  const other = files.find((file) => coveringPolicy(file, policies)?.name !== policy?.name);
  if (other === undefined) return undefined;
  const owner = coveringPolicy(other, policies)?.name;
  const shown = new URL(other).pathname;
  const message = `spec.source.url: ${nameOf(policy?.name)} covers '${new URL(url).pathname}' on '${host}', but ${nameOf(owner)} covers '${shown}' in it; make a Distribution for each part, or let one Origin cover both`;
  return { reason: 'SourceSpansOrigins', message };
}

function nameOf(origin: string | undefined): string {
  return origin === undefined ? 'no Origin' : `the Origin '${origin}'`;
}
