import { readdir } from 'node:fs/promises';
import { describe, expect } from 'vitest';
import { foldersOf, withDatabase } from '../install/remains.ts';
import { distributionResource } from '../install/resources.ts';
import {
  expectEverywhere,
  MIB,
  nameOf,
  scenario,
  takenFromOrigin,
  untilEverywhere,
} from './scenario.ts';

describe('a Distribution that is deleted', () => {
  scenario('half way leaves nothing behind', async (on) => {
    const file = await on.putFile('deleted.bin', 64 * MIB);
    const uid = await on.distribute(file);
    const { verifiedBytes } = await on.sluice.untilVerified(uid, file.sizeBytes / 3);
    expect(verifiedBytes, 'half way').toBeLessThan(file.sizeBytes);
    expect(await foldersOf(on.cluster, uid)).not.toEqual([]);

    await withDatabase(on.cluster, async (database) => {
      await on.sluice.until('rows', async () => {
        const { assignments } = await database.count(uid);
        return assignments > 0 ? assignments : undefined;
      });
      await on.sluice.remove(nameOf(file));
      expect(await database.count(uid)).toEqual({ distributions: 0, assignments: 0 });
    });
    expect(await foldersOf(on.cluster, uid)).toEqual([]);
    for (const node of on.cluster.nodes) {
      const names = await readdir(on.sluice.root(node), { recursive: true });
      expect(names, node.name).not.toContain(`default/${nameOf(file)}`);
    }

    // Relays stay a while for the next Distribution, and then go.
    await on.sluice.until('the relays are gone', async () => {
      return (await on.sluice.pods('relay')).length === 0 ? true : undefined;
    });

    await on.sluice.until('the connections are given back', async () => {
      const { connections } = await on.cluster.origin.stats();
      const { usage } = await on.sluice.originStatus('scenarios');
      return connections.open === 0 && usage?.connections === 0 ? true : undefined;
    });
  });

  scenario('and applied again within its grace has its files at once', async (on) => {
    const file = await on.putFile('again.bin', 8 * MIB);
    const uid = await on.distribute(file, { spec: { deletionGraceSeconds: 3600 } });
    await untilEverywhere(on.sluice, file);
    await on.sluice.remove(nameOf(file));
    await expectEverywhere(on.sluice, file);
    const taken = await takenFromOrigin(on);

    const name = 'again-by-another-name';
    const target = { path: nameOf(file) };
    const spec = { target, deletionGraceSeconds: 2 };
    const { url, sha256 } = file;
    await on.sluice.apply(distributionResource({ name, url, sha256, spec }));
    await on.sluice.untilReady(name, { timeoutMs: 30_000 });
    await expectEverywhere(on.sluice, file);
    expect(await takenFromOrigin(on), 'bytes of the origin').toBe(taken);

    await on.sluice.remove(name);
    await on.sluice.until('the files are gone', async () => {
      return (await foldersOf(on.cluster, uid)).length === 0 ? true : undefined;
    });
    await withDatabase(on.cluster, async (database) => {
      await on.sluice.until('the rows are gone', async () => {
        const { distributions, assignments } = await database.count(uid);
        return distributions + assignments === 0 ? true : undefined;
      });
    });
  });

  scenario('with deletionPolicy Retain leaves its files, and nothing else', async (on) => {
    const file = await on.putFile('retained.bin', 2 * MIB);
    const uid = await on.distribute(file, { spec: { deletionPolicy: 'Retain' } });
    await untilEverywhere(on.sluice, file);
    await on.sluice.remove(nameOf(file));
    await expectEverywhere(on.sluice, file);
    const rows = await withDatabase(on.cluster, (database) => database.count(uid));
    expect(rows).toEqual({ distributions: 0, assignments: 0 });
  });
});
