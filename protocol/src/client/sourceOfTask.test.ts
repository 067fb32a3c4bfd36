import { describe, expect, it } from 'vitest';
import type { Task } from '../messages.ts';
import { mirrorsOf, sourceOf } from './sourceOfTask.ts';

const FILES = [
  { path: 'a b', sizeBytes: 1 },
  { path: 'c/d', sizeBytes: 2 },
];

const task = {
  pieceLengthBytes: 262_144,
  files: FILES,
  source: {
    url: 'http://source/set/',
    headers: { authorization: 'of the source' },
    files: [
      { path: 'c/d', validator: { etag: '"2"' } },
      { path: 'a b', validator: { etag: '"1"' } },
    ],
    ranges: true,
    mirrors: [
      {
        id: 'm1',
        url: 'https://mirror/copies/',
        headers: {},
        validators: [{ etag: '"m1"' }, { lastModified: 'then' }],
        allowPrivateAddresses: true,
      },
    ],
  },
} as unknown as Task;

describe('where a task is pulled from', () => {
  it('is its source, with the validator of each file there', () => {
    expect(sourceOf(task, FILES)).toEqual({
      options: {
        files: [
          { url: 'http://source/set/a%20b', sizeBytes: 1, validator: { etag: '"1"' } },
          { url: 'http://source/set/c/d', sizeBytes: 2, validator: { etag: '"2"' } },
        ],
        headers: { authorization: 'of the source' },
        ranges: true,
        pieceLengthBytes: 262_144,
      },
      allowsPrivateAddresses: false,
    });
  });

  it('is a mirror, with its own validators and headers', () => {
    expect(mirrorsOf(task)).toEqual(['m1']);
    const { options, allowsPrivateAddresses } = sourceOf(task, FILES, 'm1')!;
    expect(options.files).toEqual([
      { url: 'https://mirror/copies/a%20b', sizeBytes: 1, validator: { etag: '"m1"' } },
      { url: 'https://mirror/copies/c/d', sizeBytes: 2, validator: { lastModified: 'then' } },
    ]);
    expect([options.headers, allowsPrivateAddresses]).toEqual([{}, true]);
  });

  it('is nowhere when the task names no such place', () => {
    const { source, ...rest } = task;
    expect(sourceOf(task, FILES, 'm2')).toBeUndefined();
    expect(sourceOf(rest, FILES)).toBeUndefined();
    expect(sourceOf(rest, FILES, 'm1')).toBeUndefined();
    expect(mirrorsOf(rest)).toEqual([]);
  });
});
