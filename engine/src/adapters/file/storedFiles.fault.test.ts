import { expect, it } from 'vitest';
import { fuzzStoredFiles } from './testing/storedFilesFuzz.ts';

it('a store takes nothing from its own files that it did not write (make bench NAME=fuzz for more)', async () => {
  expect(await fuzzStoredFiles(1, 2_000)).toEqual([]);
});
