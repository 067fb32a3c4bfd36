import { describe, expect } from 'vitest';
import type { Cluster } from '../cluster/cluster.ts';
import { createPod, podManifest, untilPod } from '../cluster/testing.ts';
import { distributionResource } from '../install/resources.ts';
import { ROOT } from '../install/sluice.ts';
import { edit, MIB, nameOf, scenario, undoNamespace } from './scenario.ts';

const CLAIM = 'model';
const LABEL = 'default.dist.sluice.dev/labelled';

/** Says what it sees at /data when it is asked, by `kubectl exec`; otherwise waits. */
const WAIT = 'setInterval(() => {}, 1_000);';
const LOOK = `
  import { createHash } from 'node:crypto';
  import { readdirSync, readFileSync } from 'node:fs';
  for (const name of readdirSync('/data')) {
    console.log(name, createHash('sha256').update(readFileSync('/data/' + name)).digest('hex'));
  }`;

const RESTRICTED = 'restricted-tenant';

const look = (cluster: Cluster, pod: string, namespace = 'default') =>
  cluster.kubectl(['exec', pod, '-n', namespace, '--', 'node', '--input-type=module', '-e', LOOK]);

async function agentImage(cluster: Cluster): Promise<string> {
  const path = '{.spec.template.spec.containers[0].image}';
  const agents = ['get', 'daemonset', 'sluice-agent', '-n', 'sluice-system'];
  return cluster.kubectl([...agents, '-o', `jsonpath=${path}`]);
}

async function phaseOf(cluster: Cluster, pod: string): Promise<string> {
  return cluster.kubectl(['get', 'pod', pod, '-o', 'jsonpath={.status.phase} {.spec.nodeName}']);
}

async function remaining(cluster: Cluster): Promise<string[]> {
  const selector = 'app.kubernetes.io/managed-by=sluice-operator';
  const args = ['get', 'persistentvolumes,persistentvolumeclaims', '-A', '-l', selector];
  return (await cluster.kubectl([...args, '-o', 'name'])).split('\n').filter(Boolean);
}

describe('pods that use the files', () => {
  scenario(
    'through a claim wait for them, read them, and keep the version they have',
    async (on) => {
      const { cluster, sluice } = on;
      const image = await agentImage(cluster);
      const file = await on.putFile('claimed.bin', 4 * MIB);
      const next = await on.putFile('claimed-next.bin', 3 * MIB);
      const pod = { image, script: WAIT, claim: CLAIM };
      const removePods = on.undo(() =>
        cluster.kubectl(['delete', 'pod', 'early', 'late', '--ignore-not-found']),
      );
      // Before there is a claim, or a file.
      await createPod(cluster, { ...pod, name: 'early' });
      const target = {
        path: nameOf(file),
        persistentVolumeClaim: CLAIM,
        nodeSelector: { 'kubernetes.io/hostname': 'node-2' },
      };
      await on.distribute(file, { spec: { target, suspend: true } });
      await sluice.until('the pod is on the node of the file', async () => {
        return (await phaseOf(cluster, 'early')) === 'Pending node-2' ? true : undefined;
      });
      await sluice.until('the kubelet says that the folder is not there', async () => {
        const about = ['--field-selector', 'involvedObject.name=early,reason=FailedMount'];
        const events = await cluster.kubectl(['get', 'events', ...about, '-o', 'name']);
        return events.trim() === '' ? undefined : true;
      });
      await edit(on, nameOf(file), { suspend: false });
      await sluice.untilReady(nameOf(file));
      // The kubelet tries again at growing intervals.
      await sluice.until('the pod runs', async () => {
        return (await phaseOf(cluster, 'early')) === 'Running node-2' ? true : undefined;
      });
      expect(await look(cluster, 'early')).toBe(`${file.name} ${file.sha256}\n`);

      await edit(on, nameOf(file), {
        source: { url: next.url, digest: `sha256:${next.sha256}` },
      });
      await sluice.untilEpoch(nameOf(file), 2);
      await createPod(cluster, { ...pod, name: 'late' });
      await untilPod(cluster, 'late', 'Ready');
      expect(await look(cluster, 'early')).toBe(`${file.name} ${file.sha256}\n`);
      expect(await look(cluster, 'late')).toBe(`${next.name} ${next.sha256}\n`);

      // Neither waits for the other: the Distribution goes, the claim stays for its pods.
      await sluice.remove(nameOf(file));
      expect(await remaining(cluster)).toHaveLength(2);
      await removePods();
      await sluice.until('claim and volume are gone', async () => {
        return (await remaining(cluster)).length === 0 ? true : undefined;
      });
    },
  );

  scenario('need no more than Pod Security `restricted` lets them have', async (on) => {
    const { cluster, sluice } = on;
    const file = await on.putFile('restricted.bin', MIB);
    const { url, sha256 } = file;
    const name = nameOf(file);
    const namespace = RESTRICTED;
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    const target = { path: name, persistentVolumeClaim: CLAIM };
    const source = { url, digest: `sha256:${sha256}` };
    const removeNamespace = undoNamespace(on, namespace);
    await sluice.apply(
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } },
      distributionResource({ name, namespace, url, spec: { source, target } }),
    );
    await sluice.untilReady(name, { namespace });
    const image = await agentImage(cluster);
    const pod = { name: 'tenant', namespace, image, script: WAIT, claim: CLAIM };
    // It is enforced: the same pod may not mount the folder itself.
    const manifest = podManifest(pod);
    const hostPath = { path: `${ROOT}/${namespace}/${name}`, type: 'Directory' };
    const volumes = [{ name: 'data', hostPath }];
    const input = JSON.stringify({ ...manifest, spec: { ...manifest.spec, volumes } });
    await expect(cluster.kubectl(['create', '-f', '-'], { input })).rejects.toThrow(
      /violates PodSecurity "restricted/,
    );
    await createPod(cluster, pod);
    await untilPod(cluster, 'tenant', 'Ready', namespace);
    expect(await look(cluster, 'tenant', namespace)).toBe(`${file.name} ${sha256}\n`);
    await removeNamespace();
    await sluice.until('claim and volume are gone', async () => {
      return (await remaining(cluster)).length === 0 ? true : undefined;
    });
  });

  scenario('find the nodes that have them by a label', async (on) => {
    const { cluster, sluice } = on;
    const labelled = async (value: string) => {
      const said = await cluster.kubectl(['get', 'nodes', '-l', `${LABEL}=${value}`, '-o', 'name']);
      return said.split('\n').filter(Boolean).length;
    };
    const file = await on.putFile('labelled.bin', MIB);
    await on.distribute(file, { spec: { target: { path: nameOf(file), nodeLabel: true } } });
    await sluice.untilReady(nameOf(file));
    await sluice.until('each node has the label', async () => {
      return (await labelled('1')) === cluster.nodes.length ? true : undefined;
    });
    await sluice.remove(nameOf(file));
    await sluice.until('no node has it', async () => {
      return (await labelled('1')) === 0 ? true : undefined;
    });
  });
});
