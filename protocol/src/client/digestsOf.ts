import type { Task } from '../messages.ts';

/** SHA-256 in hex by path, of the files whose digest the user gave. */
export function digestsOf({ files }: Pick<Task, 'files'>): Map<string, string> {
  return new Map(
    files.flatMap(({ path, sha256 }) => (sha256 === undefined ? [] : [[path, sha256] as const])),
  );
}
