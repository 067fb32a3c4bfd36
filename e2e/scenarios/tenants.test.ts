import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { distributionResource } from '../install/resources.ts';
import { changeSettings, NAMESPACE, sha256OfFile } from '../install/sluice.ts';
import type { OriginFile } from '../origin/origin.ts';
import { SETTINGS } from './limits.ts';
import {
  MIB,
  nameOf,
  OVERHEAD_BYTES,
  refusing,
  type Scenario,
  scenario,
  takenFromOrigin,
  undoNamespace,
  untilEverywhere,
  untilReason,
} from './scenario.ts';

/** The operator is replaced and then each agent, and back; and an agent tries again by itself. */
const SHARES_TIMEOUT_MS = 600_000;

/** Until the scenario is over. Each has its own: one that is on its way out cannot be made again. */
async function makeNamespace(on: Scenario, namespace: string): Promise<void> {
  undoNamespace(on, namespace);
  await on.cluster.kubectl(['create', 'namespace', namespace]);
}

/** Applies it in this namespace, and waits until every node shows it. */
async function untilThere(on: Scenario, namespace: string, file: OriginFile): Promise<void> {
  const { url, sha256 } = file;
  const name = nameOf(file);
  await on.sluice.apply(distributionResource({ name, namespace, url, sha256 }));
  await on.sluice.untilReady(name, { namespace });
  for (const node of on.cluster.nodes) {
    const placed = on.sluice.placed(node, name, file.name, namespace);
    expect(await sha256OfFile(placed), node.name).toBe(file.sha256);
  }
}

/** Of each disk; undefined: all of it. Resolves when each agent knows. */
async function setShare(
  { cluster, sluice }: Scenario,
  namespace: string,
  share: string | undefined,
): Promise<void> {
  const agents = ['get', 'daemonset', 'sluice-agent', '-n', NAMESPACE, '-o'];
  const variable = '.spec.template.spec.containers[0].env[?(@.name=="SLUICE_NAMESPACE_SHARES")]';
  const shares = () => cluster.kubectl([...agents, `jsonpath={${variable}.value}`]);
  const namespaceShares = share === undefined ? {} : { [namespace]: share };
  await changeSettings(cluster, { ...SETTINGS, namespaceShares });
  await sluice.until('agents are to know the share', async () => {
    return (await shares()).includes(namespace) === (share !== undefined) || undefined;
  });
  await sluice.untilAgentsReady();
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
    const other = 'tenant-same-source';
    const file = await on.putFile('shared-source.bin', 24 * MIB);
    await makeNamespace(on, other);
    await on.distribute(file);
    await untilEverywhere(on.sluice, file);
    await untilThere(on, other, file);
    expect(await takenFromOrigin(on)).toBeLessThan(file.sizeBytes * 1.03 + OVERHEAD_BYTES);

    // The digest alone is no right to the bytes of another namespace.
    await on.cluster.kubectl(['delete', 'distribution', nameOf(file), '-n', other]);
    const own = await on.putFile('own-source.bin', 24 * MIB, file.name);
    const before = await takenFromOrigin(on);
    await untilThere(on, other, own);
    expect((await takenFromOrigin(on)) - before).toBeGreaterThanOrEqual(own.sizeBytes);
  });
});

describe('a namespace beside another one', () => {
  scenario(
    'gets none of its bytes while the source refuses it, and fetches none after',
    async (on) => {
      const { sluice, cluster } = on;
      const file = await on.putFile('refused-tenant.bin', 8 * MIB);
      const name = nameOf(file);
      const namespace = 'tenant-refused';
      await makeNamespace(on, namespace);
      await on.distribute(file);
      await untilEverywhere(sluice, file);
      await on.behave(file, refusing(403));
      const { url, sha256 } = file;
      await sluice.apply(distributionResource({ name, namespace, url, sha256 }));
      await untilReason(sluice, name, 'Stalled', 'SourceForbidden', namespace);
      for (const node of cluster.nodes) {
        const placed = sluice.placed(node, name, file.name, namespace);
        await expect(sha256OfFile(placed), node.name).rejects.toMatchObject({ code: 'ENOENT' });
      }
      await on.behave(file, {});
      await untilThere(on, namespace, file);
      expect(await takenFromOrigin(on)).toBeLessThan(file.sizeBytes * 1.03 + OVERHEAD_BYTES);
    },
  );

  scenario('is held back by an Origin that does not allow it, until it does', async (on) => {
    const { sluice, cluster } = on;
    const file = await on.putFile('not-allowed.bin', MIB);
    const name = nameOf(file);
    const label = 'e2e.sluice.test/files';
    const allow = (allowedNamespaces: object) => {
      const spec = JSON.stringify({ spec: { allowedNamespaces } });
      return cluster.kubectl(['patch', 'origin', 'scenarios', '--type=merge', '-p', spec]);
    };
    const namespace = 'tenant-not-allowed';
    await makeNamespace(on, namespace);
    on.undo(() => allow({ from: 'All', matchLabels: null }));
    await allow({ from: 'Selector', matchLabels: { [label]: 'yes' } });
    const { url, sha256 } = file;
    await sluice.apply(distributionResource({ name, namespace, url, sha256 }));
    await untilReason(sluice, name, 'Stalled', 'NamespaceNotAllowed', namespace);
    expect(await takenFromOrigin(on), 'bytes of the origin').toBe(0);
    await cluster.kubectl(['label', 'namespace', namespace, `${label}=yes`]);
    await untilThere(on, namespace, file);
  });

  scenario(
    'has no more of a disk than its share, and takes none of the share of others',
    async (on) => {
      const { sluice, cluster } = on;
      const first = await on.putFile('share-first.bin', 8 * MIB);
      const second = await on.putFile('share-second.bin', 8 * MIB);
      const namespace = 'tenant-share';
      await makeNamespace(on, namespace);
      on.undo(() => setShare(on, namespace, undefined));
      await setShare(on, namespace, '12Mi');
      await untilThere(on, namespace, first);
      const name = nameOf(second);
      const { url, sha256 } = second;
      await sluice.apply(distributionResource({ name, namespace, url, sha256 }));
      const reason = 'NamespaceShareExceeded';
      const stalled = await untilReason(sluice, name, 'Stalled', reason, namespace);
      expect(stalled.message).toMatch(/; delete Distributions of the namespace, lower /);
      await on.distribute(second);
      await untilEverywhere(sluice, second);
      await cluster.kubectl(['delete', 'distribution', nameOf(first), '-n', namespace]);
      await untilThere(on, namespace, second);
    },
    { timeoutMs: SHARES_TIMEOUT_MS },
  );

  scenario('has a path for one Distribution only, the older one, and for all in it', async (on) => {
    const { sluice } = on;
    const at = async (path: string) => {
      const file = await on.putFile(`${path.replace('/', '-')}.bin`, MIB);
      await on.distribute(file, { spec: { target: { path } } });
      return file;
    };
    const older = await at('nest');
    await sluice.untilReady(nameOf(older));
    // Kubernetes tells ages by the second.
    await sleep(1_000, undefined, { signal: on.signal });
    const [nested, other] = [await at('nest/inner'), await at('nest-other')];
    await sluice.untilReady(nameOf(other));
    const stalled = await untilReason(sluice, nameOf(nested), 'Stalled', 'PathConflict');
    expect(stalled.message).toContain(nameOf(older));
    await sluice.remove(nameOf(older));
    await sluice.untilReady(nameOf(nested));
  });
});
