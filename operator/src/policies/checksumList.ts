/** Reads what sha256sum writes. PURE. */
import type { NamedFile } from '../controllers/dataSide.ts';
import { setProblem } from './fileSet.ts';

export type ChecksumList =
  | { readonly kind: 'files'; readonly files: readonly NamedFile[] }
  /** A sentence with the remedy. */
  | { readonly kind: 'problem'; readonly message: string };

/** `<64 hex digits>  <path>`, with `*` before the path where sha256sum read in binary mode. */
const GNU = /^([0-9a-fA-F]{64}) [ *](.+)$/;
/** As the BSDs and `sha256sum --tag` write it. */
const TAGGED = /^SHA256 \((.+)\) = ([0-9a-fA-F]{64})$/;

/**
 * `listPath` is where the list is, relative to the source's folder: the paths in it are relative
 * to its own. Lines that are empty or begin with # are passed over.
 */
export function parseChecksums(text: string, listPath: string): ChecksumList {
  const field = `spec.source.filesFrom.path: '${listPath}'`;
  const folder = listPath.slice(0, listPath.lastIndexOf('/') + 1);
  const files: NamedFile[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
    if (line.trim() === '' || line.startsWith('#')) continue;
    const found = entryOf(line);
    if (found === undefined) {
      const message = `${field} has in line ${index + 1} no SHA-256 and path; write the list with sha256sum`;
      return { kind: 'problem', message };
    }
    files.push({ path: `${folder}${found.path.replace(/^(\.\/)+/, '')}`, sha256: found.sha256 });
  }
  const problem = setProblem(
    files.map(({ path }) => path),
    field,
  );
  return problem === undefined ? { kind: 'files', files } : { kind: 'problem', message: problem };
}

function entryOf(line: string): { path: string; sha256: string } | undefined {
  const gnu = GNU.exec(line);
  if (gnu !== null) return { path: gnu[2] as string, sha256: (gnu[1] as string).toLowerCase() };
  const tagged = TAGGED.exec(line);
  if (tagged === null) return undefined;
  return { path: tagged[1] as string, sha256: (tagged[2] as string).toLowerCase() };
}
