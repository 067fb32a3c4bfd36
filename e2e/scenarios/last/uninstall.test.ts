/** The very last: Sluice goes from the cluster, comes back, and goes for good. */
import { mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { buildClusterBinaries } from '../../cluster/build.ts';
import type { Cluster } from '../../cluster/cluster.ts';
import { repositoryRoot } from '../../cluster/paths.ts';
import { run } from '../../cluster/run.ts';
import {
  auditEventsOf,
  type Rule,
  refusedRequests,
  unusedRights,
} from '../../install/auditedRights.ts';
import { originResource } from '../../install/resources.ts';
import { installAgain, NAMESPACE } from '../../install/sluice.ts';
import { LIMITS } from '../limits.ts';
import {
  expectEverywhere,
  MIB,
  nameOf,
  scenario,
  takenFromOrigin,
  untilEverywhere,
} from '../scenario.ts';

const PURGE_TIMEOUT_MS = 120_000;

async function names(cluster: Cluster, ...args: string[]): Promise<string[]> {
  const said = await cluster.kubectl(['get', ...args, '-o', 'name', '--ignore-not-found']);
  return said.split('\n').filter(Boolean);
}

/** The commands that docs/operations.md tells a user to run, by a shell, as they stand there. */
async function runDocumented(cluster: Cluster, heading: string): Promise<void> {
  const text = await readFile(path.join(repositoryRoot, 'docs/operations.md'), 'utf8');
  const section = text.slice(text.indexOf(`### ${heading}\n`));
  const script = /```sh\n([\s\S]*?)```/.exec(section)?.[1];
  if (script === undefined) throw new Error(`docs/operations.md has no commands under ${heading}`);
  const binaries = path.join(cluster.stateFolder, 'purge-bin');
  await mkdir(binaries, { recursive: true });
  for (const name of ['kubectl', 'helm']) {
    await symlink(path.join(await buildClusterBinaries(), name), path.join(binaries, name));
  }
  const env = {
    PATH: `${binaries}:/usr/bin:/bin`,
    KUBECONFIG: cluster.kubeconfigPath,
    HOME: cluster.stateFolder,
  };
  await run('bash', ['-euxc', script], { env, timeoutMs: PURGE_TIMEOUT_MS });
}

/** Of the hook that runs when the release is gone: they go with it, so they are asked for before. */
async function hookRules(cluster: Cluster): Promise<(kind: 'ClusterRole' | 'Role') => Rule[]> {
  const manifests = await cluster.helm(['get', 'hooks', 'sluice', '-n', NAMESPACE]);
  const objects = parseAllDocuments(manifests).map(
    (document) => document.toJS() as { kind: string; rules?: Rule[] } | null,
  );
  return (kind) => {
    const rules = objects.flatMap((object) => (object?.kind === kind ? (object.rules ?? []) : []));
    expect(rules.length, `rules of the ${kind} of the hook`).toBeGreaterThan(0);
    return rules;
  };
}

/** What the hook's account was given it has used, and nothing that it asked was refused. */
async function expectHookUsedItsRights(
  cluster: Cluster,
  rulesOf: (kind: 'ClusterRole' | 'Role') => Rule[],
): Promise<void> {
  const account = `system:serviceaccount:${NAMESPACE}:sluice-uninstall`;
  const events = await auditEventsOf(path.join(cluster.stateFolder, 'logs'), account);
  const unused = [
    ...unusedRights(rulesOf('ClusterRole'), events),
    ...unusedRights(rulesOf('Role'), events, NAMESPACE),
  ];
  expect(unused, 'rights that the uninstall hook did not use').toEqual([]);
  expect(refusedRequests(events)).toEqual([]);
}

describe('Sluice that is uninstalled', () => {
  scenario(
    'leaves CRDs, Distributions and files, comes back to them, and is purged',
    async (on) => {
      const { cluster, sluice } = on;
      const file = await on.putFile('survives.bin', 2 * MIB);
      const target = { path: nameOf(file), persistentVolumeClaim: 'survives', nodeLabel: true };
      await on.distribute(file, { spec: { target } });
      await untilEverywhere(sluice, file);
      const before = (await sluice.distribution(nameOf(file))).metadata.uid;

      const rulesOf = await hookRules(cluster);
      await cluster.helm(['uninstall', 'sluice', '-n', NAMESPACE]);
      await expectHookUsedItsRights(cluster, rulesOf);
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

      await cluster.origin.reset();
      await (await installAgain(cluster, { nodeLabels: true })).read.close();
      await sluice.until('the finalizer is back', async () => {
        const args = ['get', 'distribution', nameOf(file), '-o', 'jsonpath={.metadata.finalizers}'];
        return (await cluster.kubectl(args)) === '' ? undefined : true;
      });
      await sluice.untilReady(nameOf(file));
      expect(await takenFromOrigin(on), 'nothing is fetched again').toBe(0);

      // One that nobody deletes properly leaves files that no Distribution knows.
      await sluice.apply(originResource('another', 'mirror.sluice.test', LIMITS));
      await runDocumented(cluster, 'Purge');
      for (const node of cluster.nodes) {
        expect(await readdir(sluice.root(node)), `files on ${node.name}`).toEqual([]);
      }
      const all =
        'pods,deployments,daemonsets,statefulsets,jobs,services,configmaps,secrets,leases,persistentvolumeclaims';
      const left = [
        ...(await names(cluster, 'crd')),
        ...(await names(cluster, all, '-A', '-l', 'app.kubernetes.io/name=sluice')),
        ...(await names(cluster, 'persistentvolumes', '-l', 'app.kubernetes.io/name=sluice')),
        ...(await names(cluster, 'nodes', '-l', `default.dist.sluice.dev/${nameOf(file)}`)),
        ...(await names(cluster, 'namespace', NAMESPACE)),
        ...(await names(cluster, rights, '-A', '-l', 'app.kubernetes.io/name=sluice')),
      ];
      expect(left).toEqual([]);
    },
    { removesSluice: true, timeoutMs: 400_000 },
  );
});
