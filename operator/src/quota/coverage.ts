/**
 * Which Origin a URL is under, and which URLs of a host are counted together. PURE.
 *
 * What was taken from a region of a host (a path prefix, without deeper ones that other rules
 * name) is kept under that region's name. When the prefixes of Origins change, the regions do, and
 * what is known of an old one counts under every Origin that has a part of it now.
 */
import type { OriginPolicy } from '../controllers/dataSide.ts';

/** Host and port: what is counted by. */
export function hostOf(url: string): string {
  const { hostname, port, protocol } = new URL(url);
  // A name with the root's dot is the same host.
  return `${hostname.replace(/\.$/, '')}:${port || (protocol === 'https:' ? '443' : '80')}`;
}

/** As servers understand it: decoded, without empty segments and dots; '' is the root. */
export function pathOf(url: string): string {
  return normalPath(decoded(new URL(url).pathname));
}

/** `HOST[:PORT][/PREFIX]` in the one way that it is compared by. */
export function normalEntry(entry: string): string {
  const { host, prefix } = parseEntry(entry);
  return host + prefix;
}

/** The longest prefix; of equal ones, that of an Origin that names the port. */
export function coveringPolicy(
  url: string,
  policies: readonly OriginPolicy[],
): OriginPolicy | undefined {
  const table = tableOf(hostOf(url), policies);
  return table.get(longestIn(table, pathOf(url)) ?? '');
}

/** Part of the URLs of a host. */
export interface Region {
  /** With its port. */
  readonly host: string;
  /** '' or `/a/b`. */
  readonly prefix: string;
  /** Deeper prefixes that are regions of their own; in order. */
  readonly without: readonly string[];
}

/** One more and the region is taken for larger than it is: that counts high. */
const MAX_WITHOUT = 64;
/** In no prefix, by the rules of the custom resource. */
const WITHOUT = ' !';

/** Where what is taken from this URL is counted now. */
export function regionOf(url: string, policies: readonly OriginPolicy[]): Region {
  const host = hostOf(url);
  const table = tableOf(host, policies);
  return regionAt(host, longestIn(table, pathOf(url)) ?? '', table);
}

/** Names a journal; that of a whole host is the host's name. */
export function regionName({ host, prefix, without }: Region): string {
  return [host + prefix, ...without].join(WITHOUT);
}

export function regionNamed(name: string): Region {
  const [entry = '', ...without] = name.split(WITHOUT);
  return { ...parseEntry(entry), without };
}

/**
 * Those that have a part of it, first the one of its own prefix; undefined stands for what none
 * covers.
 */
export function policiesOver(
  region: Region,
  policies: readonly OriginPolicy[],
): readonly (OriginPolicy | undefined)[] {
  const { host } = region;
  const table = tableOf(host, policies);
  const others = [...table.keys()].filter((prefix) => prefix !== region.prefix && prefix !== '');
  const own = region.prefix === '' || table.has(region.prefix) ? [region.prefix] : [];
  const root = region.prefix === '' ? [] : [''];
  const found = [...own, ...root, ...others]
    .filter((prefix) => overlap(region, regionAt(host, prefix, table)))
    .map((prefix) => table.get(prefix));
  return [...new Set(found)];
}

function overlap(one: Region, other: Region): boolean {
  const [outer, inner] = isUnder(other.prefix, one.prefix) ? [one, other] : [other, one];
  if (!isUnder(inner.prefix, outer.prefix)) return false;
  return !outer.without.some((prefix) => isUnder(inner.prefix, prefix));
}

function regionAt(host: string, prefix: string, table: ReadonlyMap<string, unknown>): Region {
  const deeper = [...table.keys()].filter((each) => each !== prefix && isUnder(each, prefix));
  const outermost = deeper.filter((each) => {
    return !deeper.some((other) => other !== each && isUnder(each, other));
  });
  return { host, prefix, without: outermost.sort().slice(0, MAX_WITHOUT) };
}

/** By prefix: what is named for this host with its port. */
function tableOf(
  host: string,
  policies: readonly OriginPolicy[],
): ReadonlyMap<string, OriginPolicy> {
  const table = new Map<string, OriginPolicy>();
  for (const named of [host.replace(/:\d+$/, ''), host]) {
    for (const policy of policies) {
      for (const entry of policy.hosts) {
        const { host: of, prefix } = parseEntry(entry);
        if (of === named) table.set(prefix, policy);
      }
    }
  }
  return table;
}

function longestIn(table: ReadonlyMap<string, unknown>, path: string): string | undefined {
  let longest: string | undefined;
  for (const prefix of table.keys()) {
    if (isUnder(path, prefix) && prefix.length >= (longest?.length ?? 0)) longest = prefix;
  }
  return longest;
}

/** Whole segments: `/a` has `/a/b`, and not `/ab`. */
function isUnder(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`);
}

function parseEntry(entry: string): { host: string; prefix: string } {
  const slash = entry.indexOf('/');
  if (slash < 0) return { host: entry, prefix: '' };
  return { host: entry.slice(0, slash), prefix: normalPath(entry.slice(slash)) };
}

function normalPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  return segments.map((segment) => `/${segment}`).join('');
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    // No text in UTF-8: compared as it stands.
    return path;
  }
}
