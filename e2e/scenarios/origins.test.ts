import { access } from 'node:fs/promises';
import { describe, expect } from 'vitest';
import { conditionOf } from '../install/sluice.ts';
import { expectEverywhere, MIB, scenario, untilEverywhere } from './scenario.ts';

describe('an origin', () => {
  scenario('that ignores ranges gives the file once, in one stream', async (on) => {
    const file = await on.putFile('no-ranges.bin', 12 * MIB);
    await on.behave(file, { noRanges: true });
    await on.distribute(file);
    await untilEverywhere(on.sluice, file);
    const { requests } = await on.cluster.origin.stats();
    const [probe, ...pulls] = requests;
    expect(probe?.complete, 'the probe is cut off').toBe(false);
    expect(pulls.map(({ status, complete }) => ({ status, complete }))).toEqual([
      { status: 200, complete: true },
    ]);
  });

  scenario('that answers 404, 403 and 500 and then the file is asked again', async (on) => {
    const file = await on.putFile('late.bin', 3 * MIB);
    await on.behave(file, { statusSequence: [404, 403, 500] });
    await on.distribute(file);
    await untilEverywhere(on.sluice, file);
    const reasons = (await on.sluice.events('late')).map(({ reason }) => reason);
    expect(reasons).toEqual(
      expect.arrayContaining([
        'SourceNotFound',
        'SourceForbidden',
        'SourceUnavailable',
        'Delivered',
      ]),
    );
  });

  scenario('whose bytes have another digest leaves no file, and the reason says so', async (on) => {
    const file = await on.putFile('wrong-digest.bin', 3 * MIB);
    await on.distribute(file, { sha256: 'ab'.repeat(32) });
    const stalled = await on.sluice.until('Stalled', async () => {
      const { status } = await on.sluice.distribution('wrong-digest');
      return conditionOf(status, 'Stalled');
    });
    expect(stalled.reason).toBe('DigestMismatch');
    for (const node of on.cluster.nodes) {
      const placed = on.sluice.placed(node, 'wrong-digest', file.name);
      await expect(access(placed), node.name).rejects.toThrow('ENOENT');
    }
    await on.sluice.untilEvent('wrong-digest', 'DigestMismatch');
  });

  scenario('that changes the file half way: all nodes get the new one whole', async (on) => {
    const file = await on.putFile('changing.bin', 40 * MIB);
    const uid = await on.distribute(file, { sha256: null });
    await on.sluice.untilVerified(uid, file.sizeBytes / 3);
    const changed = await on.cluster.origin.changeFile(file.name, {
      sizeBytes: 24 * MIB,
      seed: 'changed',
    });
    const ready = await on.sluice.until('the second epoch', async () => {
      const { status } = await on.sluice.distribution('changing');
      return conditionOf(status, 'Ready')?.status === 'True' ? status : undefined;
    });
    expect(ready.epoch?.number).toBe(2);
    await expectEverywhere(on.sluice, changed);
    const reasons = (await on.sluice.events('changing')).map(({ reason }) => reason);
    expect(reasons).toContain('SourceChanged');
  });
});
