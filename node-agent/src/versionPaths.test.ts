import type { Task } from '@sluice/protocol/messages.ts';
import { describe, expect, it } from 'vitest';
import { versionPathsOf } from './versionPaths.ts';

function task(change: Partial<Task>): Task {
  return {
    uid: 'u-1',
    namespace: 'ns',
    name: 'd',
    epoch: 3,
    swarmId: '0'.repeat(40),
    pieceLengthBytes: 262_144,
    files: [{ path: 'f', sizeBytes: 1 }],
    feedKey: '',
    swarmSecret: '',
    relayToken: '',
    delivery: { topUp: [], transport: 'Hybrid' },
    target: { path: 'models/a', fileMode: '0644' },
    ...change,
  };
}

describe('the paths of a version', () => {
  it('lie under the namespace, aside and visible', () => {
    expect(versionPathsOf('/root', task({}))).toEqual({
      namespaceFolder: '/root/ns',
      distributionFolder: '/root/ns/.sluice/u-1',
      versionFolder: '/root/ns/.sluice/u-1/3',
      link: '/root/ns/models/a',
    });
  });

  it.each([
    [{ namespace: '..' }],
    [{ namespace: 'a/b' }],
    [{ uid: '..' }],
    [{ target: { path: '../other/x', fileMode: '0644' } }],
    [{ target: { path: 'a/../../x', fileMode: '0644' } }],
    [{ target: { path: '/etc/x', fileMode: '0644' } }],
    [{ target: { path: 'a//b', fileMode: '0644' } }],
    [{ target: { path: '.sluice/u-2/1', fileMode: '0644' } }],
    [{ files: [{ path: '../f', sizeBytes: 1 }] }],
    [{ target: undefined } as unknown as Partial<Task>],
  ])('refuse %j', (change) => {
    expect(() => versionPathsOf('/root', task(change))).toThrow(
      expect.objectContaining({ code: 'UnsafePath' }),
    );
  });
});
