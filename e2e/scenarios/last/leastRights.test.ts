/** Runs after all other scenarios: what they made the processes do is what is judged here. */
import path from 'node:path';
import { describe, expect } from 'vitest';
import {
  auditEventsOf,
  type Rule,
  refusedRequests,
  unusedRights,
} from '../../install/auditedRights.ts';
import { heldCredentials } from '../../install/heldCredentials.ts';
import { withDatabase } from '../../install/remains.ts';
import { RunRecord } from '../../install/runRecord.ts';
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

describe('least rights', () => {
  scenario('no log, status or event of the whole run holds a secret', async (on) => {
    const token = `token-of-the-origin-${'x'.repeat(24)}`;
    const secret = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'origin', namespace: 'default' },
      stringData: { token },
    };
    const file = await on.putFile('with-credentials.bin', MIB);
    const gone = ['delete', 'secret', 'origin', '-n', 'default', '--ignore-not-found'];
    on.undo(() => on.cluster.kubectl(gone));
    await on.sluice.apply(secret);
    await on.distribute(file, {
      sha256: null,
      spec: {
        source: { url: file.url, secretRef: { name: 'origin' } },
        target: { path: nameOf(file) },
      },
    });
    await on.sluice.untilReady(nameOf(file));
    const { metadata } = await on.sluice.distribution(nameOf(file));
    const record = new RunRecord(on.cluster);
    const given = await record.secrets();
    expect(given).toContain(token);
    const secrets = [
      ...given,
      ...(await withDatabase(on.cluster, (rows) => rows.secrets(metadata.uid))),
    ];

    const logs = await record.logs();
    for (const component of ['operator', 'relay', 'agent', 'mongodb']) {
      const own = [...logs].filter(([name]) => name.includes(`_sluice-${component}-`));
      expect(own.filter(([, text]) => text !== '').length, component).toBeGreaterThan(0);
    }
    const changes = await on.sluice.until('the record has come so far', async () => {
      const texts = await record.changes();
      const has = (name: string) => texts.get(name)?.includes(nameOf(file));
      return has('distributions') && has('events') ? texts : undefined;
    });
    expect(changes.get('origins')).toContain('"observedGeneration"');
    const kinds = 'configmaps,pods,deployments,daemonsets,leases';
    const objects = await on.cluster.kubectl(['get', kinds, '-n', NAMESPACE, '-o', 'json']);
    expect(heldCredentials(new Map([...logs, ...changes, ['objects', objects]]), secrets)).toEqual(
      [],
    );
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
