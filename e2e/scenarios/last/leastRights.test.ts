/** Runs after all other scenarios: what they made the processes do is what is judged here. */
import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect } from 'vitest';
import {
  auditEventsOf,
  type Rule,
  refusedRequests,
  unusedRights,
} from '../../install/auditedRights.ts';
import { withDatabase } from '../../install/remains.ts';
import { NAMESPACE } from '../../install/sluice.ts';
import { MIB, nameOf, type Scenario, scenario } from '../scenario.ts';

const account = (component: string) => `system:serviceaccount:${NAMESPACE}:sluice-${component}`;

/** What takes days, or the same trouble again, to be needed; each is exercised elsewhere. */
const RARE: Readonly<Record<string, string>> = {
  'update core/secrets/sluice-ca': 'a CA is replaced after eight months: server/keyring.ts',
  'get core/pods':
    'a pod asks before its kubelet has said its address: server/app.integration.test.ts',
  'patch events.k8s.io/events': 'an event comes again: kube/kube.integration.test.ts',
};

async function rulesOf(on: Scenario, kind: 'clusterrole' | 'role'): Promise<Rule[]> {
  const args = ['get', kind, 'sluice-operator', '-n', NAMESPACE, '-o', 'json'];
  return (JSON.parse(await on.cluster.kubectl(args)) as { rules: Rule[] }).rules;
}

/** Of all containers that ran on all nodes, those of the products and the database alike. */
async function podLogs(on: Scenario): Promise<Map<string, string>> {
  const logs = new Map<string, string>();
  for (const node of on.cluster.nodes) {
    const folder = node.hostPath('/var/log/pods');
    for await (const file of glob(`${NAMESPACE}_*/*/*.log*`, { cwd: folder })) {
      logs.set(`${node.name}: ${file}`, await readFile(path.join(folder, file), 'utf8'));
    }
  }
  return logs;
}

describe('least rights', () => {
  scenario('no log, status or event holds a secret', async (on) => {
    const token = `token-of-the-origin-${'x'.repeat(24)}`;
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'origin', namespace: 'default' },
      stringData: { token },
    };
    const file = await on.putFile('with-credentials.bin', MIB);
    await on.sluice.apply(secret);
    await on.distribute(file, {
      sha256: null,
      spec: {
        source: { url: file.url, secretRef: { name: 'origin' } },
        target: { path: nameOf(file) },
      },
    });
    // A relay that is not needed any more goes, and its kubelet removes its log.
    const texts = await on.sluice.until('logs of all components', async () => {
      const logs = await podLogs(on);
      const has = (component: string) =>
        [...logs].some(([name, text]) => name.includes(`_sluice-${component}-`) && text !== '');
      return ['operator', 'relay', 'agent'].every(has) ? logs : undefined;
    });
    await on.sluice.untilReady(nameOf(file));
    for (const [name, text] of await podLogs(on)) texts.set(name, text);
    const { metadata } = await on.sluice.distribution(nameOf(file));
    const secrets = [
      token,
      ...(await withDatabase(on.cluster, (rows) => rows.secrets(metadata.uid))),
    ];
    expect(secrets.length).toBeGreaterThan(3);

    const kinds = 'distributions,origins,events,configmaps,pods,deployments,daemonsets,leases';
    const objects = await on.cluster.kubectl(['get', kinds, '-A', '-o', 'json']);
    texts.set('objects', objects);
    const found: string[] = [];
    for (const [where, text] of texts) {
      if (secrets.some((one) => text.includes(one))) found.push(`${where}: a secret`);
      // JSON Web Tokens, as of service accounts, and what is sent as a credential.
      const match = /eyJ[\w-]{20,}\.[\w-]+\.|\b(bearer|basic) [\w+/=.-]{16,}|PRIVATE KEY/i.exec(
        text,
      );
      if (match !== null) found.push(`${where}: ${match[0].slice(0, 12)}...`);
    }
    expect(found).toEqual([]);
    await on.cluster.kubectl(['delete', 'secret', 'origin', '-n', 'default']);
  });

  scenario('the operator has the rights that it uses, and no others', async (on) => {
    const logs = path.join(on.cluster.stateFolder, 'logs');
    const events = await auditEventsOf(logs, account('operator'));
    const unused = [
      ...unusedRights(await rulesOf(on, 'clusterrole'), events),
      ...unusedRights(await rulesOf(on, 'role'), events, NAMESPACE),
    ];
    expect(unused.filter((right) => !(right in RARE))).toEqual([]);
    expect(refusedRequests(events)).toEqual([]);
  });

  scenario('relays and agents ask nothing of the API server', async (on) => {
    const logs = path.join(on.cluster.stateFolder, 'logs');
    expect(await auditEventsOf(logs, account('relay'))).toEqual([]);
    expect(await auditEventsOf(logs, account('agent'))).toEqual([]);
  });
});
