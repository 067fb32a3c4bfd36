/** The very last: nothing runs in the cluster afterwards. */
import { describe, expect } from 'vitest';
import type { Cluster } from '../../cluster/cluster.ts';
import { NAMESPACE } from '../../install/sluice.ts';
import { expectEverywhere, MIB, nameOf, scenario, untilEverywhere } from '../scenario.ts';

async function names(cluster: Cluster, ...args: string[]): Promise<string[]> {
  const said = await cluster.kubectl(['get', ...args, '-o', 'name', '--ignore-not-found']);
  return said.split('\n').filter(Boolean);
}

describe('Sluice that is uninstalled', () => {
  scenario(
    'leaves CRDs, Distributions and files, and no pods or rights',
    async (on) => {
      const { cluster, sluice } = on;
      const file = await on.putFile('survives.bin', 2 * MIB);
      const target = { path: nameOf(file), persistentVolumeClaim: 'survives', nodeLabel: true };
      await on.distribute(file, { spec: { target } });
      await untilEverywhere(sluice, file);
      const before = (await sluice.distribution(nameOf(file))).metadata.uid;

      await cluster.helm(['uninstall', 'sluice', '-n', NAMESPACE]);
      await sluice.until('no pod is left', async () => {
        return (await names(cluster, 'pods', '-n', NAMESPACE)).length === 0 ? true : undefined;
      });
      expect(await names(cluster, 'crd')).toHaveLength(2);
      const kept = JSON.parse(
        await cluster.kubectl(['get', 'distribution', nameOf(file), '-o', 'json']),
      ) as { metadata: { uid: string; finalizers?: string[] } };
      expect(kept.metadata.uid).toBe(before);
      expect(kept.metadata.finalizers).toBeUndefined();
      await expectEverywhere(sluice, file);
      const rights = 'clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,jobs';
      expect(
        await names(cluster, rights, '-A', '-l', 'app.kubernetes.io/name=sluice'),
        'rights',
      ).toEqual([]);
    },
    { removesSluice: true, timeoutMs: 400_000 },
  );
});
