import { describe, expect } from 'vitest';
import { distributionResource } from '../install/resources.ts';
import { sha256OfFile } from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import {
  MIB,
  nameOf,
  OVERHEAD_BYTES,
  type Scenario,
  scenario,
  takenFromOrigin,
  undoNamespace,
  untilEverywhere,
} from './scenario.ts';

const OTHER = 'other-tenant';

/** Applies it in the other namespace, and waits until every node shows it. */
async function untilOthersHave(on: Scenario, name: string, file: OriginFile): Promise<void> {
  const { url, sha256 } = file;
  await on.sluice.apply(distributionResource({ name, namespace: OTHER, url, sha256 }));
  await on.sluice.untilReady(name, { namespace: OTHER });
  for (const node of on.cluster.nodes) {
    const placed = on.sluice.placed(node, name, file.name, OTHER);
    expect(await sha256OfFile(placed), node.name).toBe(file.sha256);
  }
}

describe('two Distributions of the same bytes', () => {
  scenario('in one namespace are fetched once, one after the other', async (on) => {
    const first = await on.putFile('twice-a.bin', 24 * MIB);
    const second = await on.putFile('twice-b.bin', 24 * MIB, first.name);
    expect(second.sha256).toBe(first.sha256);
    await on.distribute(first);
    await untilEverywhere(on.sluice, first);
    await on.distribute(second);
    await untilEverywhere(on.sluice, second);
    expect(await takenFromOrigin(on)).toBeLessThan(first.sizeBytes * 1.03 + OVERHEAD_BYTES);
  });

  scenario('in one namespace are fetched once, applied at once', async (on) => {
    const first = await on.putFile('atonce-a.bin', 24 * MIB);
    const second = await on.putFile('atonce-b.bin', 24 * MIB, first.name);
    await on.distribute(first);
    await on.distribute(second);
    for (const file of [first, second]) await untilEverywhere(on.sluice, file);
    // What the second one's relays had begun before they knew of the first one's.
    const begun = 4 * MIB;
    expect(await takenFromOrigin(on)).toBeLessThan(first.sizeBytes * 1.03 + OVERHEAD_BYTES + begun);
  });

  scenario('in two namespaces are fetched once where the source is the same', async (on) => {
    const file = await on.putFile('shared-source.bin', 24 * MIB);
    undoNamespace(on, OTHER);
    await on.cluster.kubectl(['create', 'namespace', OTHER]);
    await on.distribute(file);
    await untilEverywhere(on.sluice, file);
    await untilOthersHave(on, nameOf(file), file);
    expect(await takenFromOrigin(on)).toBeLessThan(file.sizeBytes * 1.03 + OVERHEAD_BYTES);

    // The digest alone is no right to the bytes of another namespace.
    await on.cluster.kubectl(['delete', 'distribution', nameOf(file), '-n', OTHER]);
    const own = await on.putFile('own-source.bin', 24 * MIB, file.name);
    const before = await takenFromOrigin(on);
    await untilOthersHave(on, 'own-source', own);
    expect((await takenFromOrigin(on)) - before).toBeGreaterThanOrEqual(own.sizeBytes);
  });
});
