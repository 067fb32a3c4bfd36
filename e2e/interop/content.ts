/** A set of files to give and to get, and how it is judged. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { decodeBencoded } from '@sluice/engine/torrent/bencoding.ts';
import { Field } from '@sluice/engine/torrent/fields.ts';

export const PIECE_BYTES = 262_144;
/** Of the folder that clients put the files in. */
export const SET_NAME = 'set';

/** Many pieces with a broken end, one piece, less than a block, none, folders in folders. */
const SIZES: Readonly<Record<string, number>> = {
  'a/deep/er/large.bin': 9 * PIECE_BYTES + 12_345,
  'a/empty': 0,
  'a/tiny': 1,
  'b/one piece.bin': PIECE_BYTES,
  'b/some.bin': 100_000,
  'c.bin': 2 * PIECE_BYTES + 1,
};

/** By path in the set. */
export type Digests = ReadonlyMap<string, string>;

export async function makeContent(folder: string): Promise<Digests> {
  const digests = new Map<string, string>();
  for (const [name, sizeBytes] of Object.entries(SIZES)) {
    const file = path.join(folder, SET_NAME, name);
    const bytes = randomBytes(sizeBytes);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, bytes);
    digests.set(name, sha256(bytes));
  }
  return digests;
}

/** Without the files that have no bytes. */
export function withoutEmpty(digests: Digests): Digests {
  return new Map([...digests].filter(([name]) => SIZES[name] !== 0));
}

/** The pads of a hybrid as files, as clients have them that know only version 1. */
export async function addPads(folder: string, torrent: Uint8Array): Promise<void> {
  const list = new Field('torrent', decodeBencoded(torrent)).at('info').at('files').list();
  for (const entry of list) {
    if (!entry.at('attr').isThere) continue;
    const segments = entry.at('path').list();
    const name = segments.map((segment) => segment.bytes().toString()).join('/');
    const file = path.join(folder, SET_NAME, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, Buffer.alloc(entry.at('length').integer({ min: 1, max: PIECE_BYTES })));
  }
}

/** Which files of the set are not there, or not as they should be. */
export async function wrongFiles(folder: string, digests: Digests): Promise<string[]> {
  const wrong: string[] = [];
  for (const [name, digest] of digests) {
    const bytes = await readFile(path.join(folder, name)).catch(() => undefined);
    if (bytes === undefined || sha256(bytes) !== digest) wrong.push(name);
  }
  return wrong;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
