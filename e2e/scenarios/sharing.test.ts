import { describe, expect } from 'vitest';
import { MIB, scenario, takenFromOrigin, untilEverywhere } from './scenario.ts';

describe('two Distributions from one origin', () => {
  scenario('at once through the same relays stay within its limits together', async (on) => {
    const files = [
      await on.putFile('shared-a.bin', 32 * MIB),
      await on.putFile('shared-b.bin', 32 * MIB),
    ];
    const uids = await Promise.all(files.map((file) => on.distribute(file)));
    // Both move at the same time, so that it is the sum that is judged.
    const early = await Promise.all(
      uids.map((uid, at) => on.sluice.untilVerified(uid, files[at]!.sizeBytes / 4)),
    );
    for (const { verifiedBytes } of early) expect(verifiedBytes).toBeLessThan(32 * MIB);
    // They let go of what no node waits for any more.
    const relays = await Promise.all(
      uids.map(async (uid) => (await on.sluice.read.distribution(uid)).relays),
    );
    const names = relays.map((of) => of.map(({ name }) => name).sort());
    expect(names[0]).toEqual(names[1]);
    expect(names[0]).toHaveLength(2);
    for (const file of files) await untilEverywhere(on.sluice, file);

    expect(await takenFromOrigin(on)).toBeLessThan(64 * MIB * 1.03);
  });
});
