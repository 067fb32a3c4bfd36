import { describe, expect, it } from 'vitest';
import type { Distribution } from '../api/v1alpha1/distribution.ts';
import type { EpochRecord } from '../controllers/dataSide.ts';
import { isMadeFrom, namedFiles, setProblem } from './fileSet.ts';

type Source = Distribution['spec']['source'];
type Made = Pick<EpochRecord, 'url' | 'digest' | 'filesFrom' | 'files'>;

const HEX = 'ab'.repeat(32);
const OTHER = 'cd'.repeat(32);
const url = 'http://h/set/';
const files = [
  { path: 'a', digest: `sha256:${HEX}`, sizeBytes: 10 },
  { path: 'b/c', sizeBytes: 0 },
];
const made: Made = {
  url,
  files: [
    { path: 'a', sizeBytes: 10, sha256: HEX, validator: { etag: '"1"' } },
    { path: 'b/c', sizeBytes: 0, validator: { etag: '"2"' } },
  ],
};
const listed: Made = { ...made, filesFrom: 'SUMS' };

describe('an epoch', () => {
  it.each<[string, Made, Source, boolean]>([
    ['of the same files', made, { url, files }, true],
    ['of the same files in another order', made, { url, files: [...files].reverse() }, true],
    [
      'of files whose sizes are not named any more',
      made,
      { url, files: files.map(({ sizeBytes, ...file }) => file) },
      true,
    ],
    ['of another folder', made, { url: 'http://h/other/', files }, false],
    ['with a file more', made, { url, files: [...files, { path: 'd' }] }, false],
    ['with a file less', made, { url, files: files.slice(1) }, false],
    ['with another path', made, { url, files: [files[0]!, { path: 'b/d' }] }, false],
    [
      'with another digest',
      made,
      { url, files: [{ path: 'a', digest: `sha256:${OTHER}` }, files[1]!] },
      false,
    ],
    ['without a digest', made, { url, files: [{ path: 'a' }, files[1]!] }, false],
    ['with another size', made, { url, files: [files[0]!, { path: 'b/c', sizeBytes: 1 }] }, false],
    ['of the same list', listed, { url, filesFrom: { path: 'SUMS' } }, true],
    ['of another list', listed, { url, filesFrom: { path: 'SUMS.2' } }, false],
    ['of a list, now of files', listed, { url, files }, false],
    ['of files, now of a list', made, { url, filesFrom: { path: 'SUMS' } }, false],
  ])('%s', (_name, record, source, expected) => {
    expect(isMadeFrom(record, source)).toBe(expected);
  });

  it('of one file is told by URL and digest', () => {
    const one: Made = {
      url: 'http://h/f',
      digest: `sha256:${HEX}`,
      files: [{ path: 'f', sizeBytes: 1, sha256: HEX }],
    };
    expect(isMadeFrom(one, { url: 'http://h/f', digest: `sha256:${HEX}` })).toBe(true);
    expect(isMadeFrom(one, { url: 'http://h/f', digest: `sha256:${OTHER}` })).toBe(false);
    expect(isMadeFrom(one, { url: 'http://h/f' })).toBe(false);
  });
});

describe('the files of a source', () => {
  it('are those that it names, those of a list, or the one that its URL is', () => {
    expect(namedFiles({ url, files })).toEqual({
      files: [
        { path: 'a', sha256: HEX, sizeBytes: 10 },
        { path: 'b/c', sizeBytes: 0 },
      ],
    });
    expect(namedFiles({ url, filesFrom: { path: 'SUMS' } })).toEqual({ filesFrom: 'SUMS' });
    expect(namedFiles({ url: 'http://h/f' })).toBeUndefined();
  });

  it.each<[string, string[], RegExp | undefined]>([
    ['side by side', ['a', 'b/c', 'b/d', 'b.c'], undefined],
    [
      'with a name of 256 bytes',
      ['é'.repeat(128)],
      /cannot be a path .* at most 255 bytes in a segment/,
    ],
    ['with an empty segment', ['a//b'], /cannot be a path/],
    ['with a line feed', ['a\nb'], /cannot be a path/],
    ['one in the place of a folder', ['b/c/d', 'b/c'], /'b\/c' is a file, and the folder of/],
  ])('%s', (_name, paths, problem) => {
    const said = setProblem(paths, 'spec.source.files');
    if (problem === undefined) expect(said).toBeUndefined();
    else expect(said).toMatch(problem);
  });
});
