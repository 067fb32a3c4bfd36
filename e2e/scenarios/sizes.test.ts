import { stat } from 'node:fs/promises';
import { describe, expect } from 'vitest';
import { expectEverywhere, nameOf, PIECE, scenario } from './scenario.ts';

describe('files of every size', () => {
  scenario('of 0 bytes, 1 byte and a piece plus one byte are on every node', async (on) => {
    const files = [
      await on.putFile('empty.bin', 0),
      await on.putFile('one-byte.bin', 1),
      await on.putFile('piece-and-one.bin', PIECE + 1),
    ];
    for (const file of files) await on.distribute(file);
    for (const file of files) {
      await on.sluice.untilReady(nameOf(file));
      await expectEverywhere(on.sluice, file);
    }
  });

  scenario('have the mode that was asked for', async (on) => {
    const file = await on.putFile('mode.bin', 1000);
    await on.distribute(file, { spec: { target: { path: 'mode', fileMode: '0755' } } });
    await on.sluice.untilReady('mode');
    for (const node of on.cluster.nodes) {
      const { mode } = await stat(on.sluice.placed(node, 'mode', file.name));
      expect(mode & 0o777).toBe(0o755);
    }
  });
});
