import { describe, expect } from 'vitest';
import type { Cluster } from '../cluster/cluster.ts';
import { createPod } from '../cluster/testing.ts';
import { MIB, nameOf, type Scenario, scenario } from './scenario.ts';

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

const look = (cluster: Cluster, pod: string) =>
  cluster.kubectl(['exec', pod, '--', 'node', '--input-type=module', '-e', LOOK]);

async function agentImage(cluster: Cluster): Promise<string> {
  const path = '{.spec.template.spec.containers[0].image}';
  const agents = ['get', 'daemonset', 'sluice-agent', '-n', 'sluice-system'];
  return cluster.kubectl([...agents, '-o', `jsonpath=${path}`]);
}

function patch(on: Scenario, name: string, spec: object): Promise<string> {
  const args = ['patch', 'distribution', name, '--type=merge', '-p', JSON.stringify({ spec })];
  return on.cluster.kubectl(args);
}

async function phaseOf(cluster: Cluster, pod: string): Promise<string> {
  return cluster.kubectl(['get', 'pod', pod, '-o', 'jsonpath={.status.phase} {.spec.nodeName}']);
}

describe('pods that use the files', () => {
  scenario('through a claim wait for them, and read them', async (on) => {
    const { cluster, sluice } = on;
    const image = await agentImage(cluster);
    const file = await on.putFile('claimed.bin', 4 * MIB);
    const pod = { image, script: WAIT, claim: CLAIM };
    try {
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
      await patch(on, nameOf(file), { suspend: false });
      await sluice.untilReady(nameOf(file));
      // The kubelet tries again at growing intervals.
      await sluice.until('the pod runs', async () => {
        return (await phaseOf(cluster, 'early')) === 'Running node-2' ? true : undefined;
      });
      expect(await look(cluster, 'early')).toBe(`${file.name} ${file.sha256}\n`);
    } finally {
      await cluster.kubectl(['delete', 'pod', 'early', '--ignore-not-found']);
    }
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
