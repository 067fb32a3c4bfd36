import { HASH_BYTES } from '../feed/pieceHash.ts';
import type { LayoutFile } from '../pieces/layout.ts';
import type { Field } from './fields.ts';

/** As one half of a torrent lists it. */
export interface ListedFile extends LayoutFile {
  /** BEP 47: zeros that only move the next file. */
  readonly isPad: boolean;
  /** Version 2, of files that are not empty. */
  readonly root: Buffer | undefined;
}

const MAX_FILES = 20_000;
const MAX_SEGMENT_BYTES = 255;
const MAX_PATH_BYTES = 2048;
const MAX_FILE_BYTES = 2 ** 50;

/** BEP 3: one file of this name, or a list. */
export function filesOfVersion1(info: Field): ListedFile[] {
  if (info.at('length').isThere) {
    const sizeBytes = sizeOf(info.at('length'));
    return [{ path: segmentOf(info.at('name')), sizeBytes, isPad: false, root: undefined }];
  }
  const list = info.at('files').list();
  if (list.length === 0 || list.length > MAX_FILES) {
    throw info.at('files').refuse(`has ${list.length} files, not 1 to ${MAX_FILES}`);
  }
  const files = list.map((entry): ListedFile => {
    const attributes = entry.at('attr').isThere ? entry.at('attr').bytes().toString('latin1') : '';
    if (attributes.includes('l')) throw entry.refuse('is a link', 'Unsupported');
    const isPad = attributes.includes('p');
    const sizeBytes = sizeOf(entry.at('length'));
    // Nobody makes a file of a pad, and many pads may have one name.
    const path = isPad
      ? ''
      : joined(
          entry.at('path'),
          entry
            .at('path')
            .list()
            .map((each) => segmentOf(each)),
        );
    return { path, sizeBytes, isPad, root: undefined };
  });
  checkUnique(info.at('files'), files);
  return files;
}

/** BEP 52: a tree whose leaves are files. In the order of the tree. */
export function filesOfVersion2(tree: Field): ListedFile[] {
  const files: ListedFile[] = [];
  const walk = (folder: Field, segments: readonly string[]): void => {
    for (const key of folder.dictionary().keys()) {
      const node = folder.at(key);
      const path = [...segments, segmentOf(node, Buffer.from(key, 'latin1'))];
      if (!node.dictionary().has('')) walk(node, path);
      else files.push(fileOf(node, joined(node, path)));
      if (files.length > MAX_FILES) throw tree.refuse(`has more than ${MAX_FILES} files`);
    }
  };
  walk(tree, []);
  if (files.length === 0) throw tree.refuse('has no file');
  return files;
}

function fileOf(node: Field, path: string): ListedFile {
  if (node.dictionary().size > 1) throw node.refuse('is a file and a folder');
  const properties = node.at('');
  const attributes = properties.dictionary().has('attr') ? properties.at('attr').bytes() : '';
  if (attributes.includes('l')) throw properties.refuse('is a link', 'Unsupported');
  const sizeBytes = sizeOf(properties.at('length'));
  if (sizeBytes === 0) return { path, sizeBytes, isPad: false, root: undefined };
  const root = properties.at('pieces root').bytes();
  if (root.length !== HASH_BYTES) {
    throw properties.at('pieces root').refuse(`has ${root.length} bytes, not ${HASH_BYTES}`);
  }
  return { path, sizeBytes, isPad: false, root };
}

function sizeOf(field: Field): number {
  return field.integer({ min: 0, max: MAX_FILE_BYTES });
}

/** One name of a path, which cannot lead anywhere else. */
export function segmentOf(field: Field, bytes: Buffer = field.bytes()): string {
  const segment = bytes.toString('utf8');
  const told = JSON.stringify(segment.slice(0, 64));
  if (bytes.length === 0 || bytes.length > MAX_SEGMENT_BYTES) {
    throw field.refuse(`has a name of ${bytes.length} bytes, not 1 to ${MAX_SEGMENT_BYTES}`);
  }
  if (!Buffer.from(segment).equals(bytes)) throw field.refuse(`has the name ${told}, not UTF-8`);
  if (segment === '.' || segment === '..' || /[/\\\0]/.test(segment)) {
    throw field.refuse(`has the name ${told}, which is a path`);
  }
  return segment;
}

function joined(field: Field, segments: readonly string[]): string {
  const path = segments.join('/');
  const bytes = Buffer.byteLength(path);
  if (bytes === 0 || bytes > MAX_PATH_BYTES) {
    throw field.refuse(`is a path of ${bytes} bytes, not 1 to ${MAX_PATH_BYTES}`);
  }
  return path;
}

/** Neither twice, nor as the folder of another. A tree cannot have such. */
export function checkUnique(list: Field, files: readonly ListedFile[]): void {
  const paths = new Set<string>();
  for (const { path, isPad } of files) {
    if (isPad) continue;
    if (paths.has(path)) throw list.refuse(`names ${JSON.stringify(path)} twice`);
    paths.add(path);
  }
  for (const path of paths) {
    for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) {
      const folder = path.slice(0, end);
      if (paths.has(folder)) throw list.refuse(`has ${JSON.stringify(folder)} as file and folder`);
    }
  }
}
