import { describe, expect, it } from 'vitest';
import { parseChecksums } from './checksumList.ts';

const A = 'ab'.repeat(32);
const B = '12'.repeat(32);

describe('a list of checksums', () => {
  it.each<[string, string, string, string[]]>([
    [
      'as sha256sum writes it',
      'SHA256SUMS',
      `${A}  a.bin\n${B}  b/c d.bin\n`,
      ['a.bin', 'b/c d.bin'],
    ],
    ['of binary mode', 'SHA256SUMS', `${A} *a.bin\n`, ['a.bin']],
    ['with tags', 'SHA256SUMS', `SHA256 (a (1).bin) = ${A}\n`, ['a (1).bin']],
    ['from Windows, with comments', 'SHA256SUMS', `# of v2\r\n\r\n${A}  a.bin\r\n`, ['a.bin']],
    ['of find', 'SHA256SUMS', `${A}  ./a/b\n`, ['a/b']],
    ['in a folder names files of that folder', 'v2/SUMS', `${A}  a.bin\n`, ['v2/a.bin']],
    ['in upper case', 'SHA256SUMS', `${A.toUpperCase()}  a.bin`, ['a.bin']],
  ])('%s is read', (_name, listPath, text, paths) => {
    const list = parseChecksums(text, listPath);
    if (list.kind !== 'files') throw new Error(list.message);
    expect(list.files.map(({ path }) => path)).toEqual(paths);
    expect(list.files[0]?.sha256).toBe(A);
  });

  it.each<[string, string, RegExp]>([
    ['without a line', '\n# nothing\n', /^spec\.source\.filesFrom\.path: 'SUMS': names no file$/],
    ['of MD5', `${'a'.repeat(32)}  a.bin`, /'SUMS' has in line 1 no SHA-256.*sha256sum/],
    ['that is a web page', '<!doctype html>', /line 1 no SHA-256/],
    ['with escaped names', `\\${A}  a\\nb`, /line 1 no SHA-256/],
    ['that leads out', `${A}  ../secret`, /'\.\.\/secret' cannot be a path on a node/],
    ['that begins at the root', `${A}  /etc/passwd`, /'\/etc\/passwd' cannot be a path/],
    ['that names a file twice', `${A}  a\n${B}  a`, /names 'a' twice/],
    ['with a file that is a folder', `${A}  a\n${B}  a/b/c`, /'a' is a file, and the folder of/],
    ['in the folder of versions', `${A}  .sluice/x`, /cannot be a path/],
    ['that is too long', `${A}  x\n`.repeat(1_001), /names 1001 files and at most 1000/],
  ])('%s is refused, with the remedy', (_name, text, message) => {
    const list = parseChecksums(text, 'SUMS');
    expect(list.kind === 'problem' ? list.message : 'accepted').toMatch(message);
  });
});
