import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseConfig } from '../operator/src/config.ts';
import {
  DEFAULT_AGENT_POD,
  DEFAULT_RELAY_POD,
} from '../operator/src/controllers/fleet/podSettings.ts';
import { type Permission, permissions } from '../operator/src/kube/permissions.ts';
import { renderChart } from './helm.ts';

const chart = path.resolve(import.meta.dirname, '../helm/sluice');

interface Container {
  name: string;
  image: string;
  command?: string[];
  args?: string[];
  env?: { name: string; value?: string; valueFrom?: object }[];
  securityContext: object;
  startupProbe?: { exec?: { command: string[] } };
  volumeMounts: { name: string; mountPath: string }[];
}

interface Rendered {
  kind: string;
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> };
  // The fields that the tests below look at.
  spec: {
    replicas?: number;
    template: {
      metadata?: { annotations?: object };
      spec: { securityContext: object; containers: Container[] };
    };
    podSelector?: { matchLabels: Record<string, string> };
    ingress?: { ports: { port: string }[]; from?: unknown[] }[];
    volumeClaimTemplates?: { spec: { storageClassName?: string } }[];
  };
}

describe('the chart', () => {
  const render = (...values: string[]) => renderChart<Rendered>(values);

  async function refusal(...values: string[]): Promise<string> {
    return render(...values).then(
      () => 'accepted',
      (error: { stderr: string }) => error.stderr,
    );
  }

  const find = (objects: Rendered[], kind: string, name: string): Rendered => {
    const object = objects.find((o) => o.kind === kind && o.metadata.name === name);
    if (object === undefined) throw new Error(`${kind} ${name} was not rendered`);
    return object;
  };

  const container = (object: Rendered): Container => object.spec.template.spec.containers[0]!;

  const environment = (object: Rendered): Record<string, string | object | undefined> =>
    Object.fromEntries(
      (container(object).env ?? []).map((entry) => [entry.name, entry.value ?? entry.valueFrom]),
    );

  it('runs every pod as Pod Security `restricted` asks', async () => {
    const workloads = (await render()).filter((o) =>
      ['Deployment', 'StatefulSet', 'Job'].includes(o.kind),
    );
    expect(workloads.map((o) => o.metadata.name).sort()).toEqual([
      'sluice-mongodb',
      'sluice-operator',
      'sluice-uninstall',
    ]);
    for (const workload of workloads) {
      expect(workload.spec.template.spec.securityContext).toMatchObject({
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(container(workload).securityContext).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    }
  });

  it('makes the accounts that relays and agents run under, without tokens of their own', async () => {
    const accounts = (await render()).filter((o) => o.kind === 'ServiceAccount');
    expect(
      accounts.map((o) => [
        o.metadata.name,
        'automountServiceAccountToken' in o && o.automountServiceAccountToken,
      ]),
    ).toEqual([
      ['sluice-operator', true],
      ['sluice-relay', false],
      ['sluice-agent', false],
      ['sluice-uninstall', true],
    ]);
  });

  it('gives the operator exactly the rights in its table', async () => {
    const objects = await render();
    const rules = (kind: string) =>
      (find(objects, kind, 'sluice-operator') as { rules?: object[] }).rules;
    const expected = (list: readonly Permission[]) => list.map(({ reason: _, ...rule }) => rule);
    const { persistentVolumeClaims } = permissions.workloads;
    expect(rules('ClusterRole')).toEqual(
      expected([...permissions.cluster, ...persistentVolumeClaims]),
    );
    expect(rules('Role')).toEqual(expected(permissions.namespace));
    const roles = objects.filter((o) => /Role$/.test(o.kind)).map((o) => o.metadata.name);
    expect(roles.toSorted()).toEqual([
      ...['sluice-edit', 'sluice-operator', 'sluice-operator'],
      ...['sluice-uninstall', 'sluice-uninstall', 'sluice-view'],
    ]);
  });

  it('gives rights for the pods that use the files only where they are asked for', async () => {
    const rules = async (...values: string[]) => {
      const found = find(await render(...values), 'ClusterRole', 'sluice-operator');
      return (found as { rules?: object[] }).rules ?? [];
    };
    const { persistentVolumeClaims, nodeLabels } = permissions.workloads;
    const counts = [
      (await rules('workloads.persistentVolumeClaims=false')).length,
      (await rules('workloads.nodeLabels=true')).length,
    ];
    const fixed = permissions.cluster.length;
    expect(counts).toEqual([fixed, fixed + persistentVolumeClaims.length + nodeLabels.length]);
    const operator = find(
      await render('workloads.nodeLabels=true'),
      'Deployment',
      'sluice-operator',
    );
    expect(environment(operator)).toMatchObject({
      SLUICE_PERSISTENT_VOLUME_CLAIMS: 'true',
      SLUICE_NODE_LABELS: 'true',
    });
  });

  it('tells the operator what must stay free of a disk, also where that is nothing', async () => {
    const free = async (...values: string[]) => {
      const operator = find(await render(...values), 'Deployment', 'sluice-operator');
      return environment(operator).SLUICE_MIN_FREE_PERCENT;
    };
    expect(await free()).toBe('15');
    expect(await free('agent.minFreePercent=0')).toBe('0');
    expect(await free('agent.minFreePercent=90')).toBe('90');
  });

  it('tells the operator how often placed files are checked', async () => {
    const check = async (...values: string[]) => {
      const operator = find(await render(...values), 'Deployment', 'sluice-operator');
      const { SLUICE_CHECK_SECONDS: look, SLUICE_REHASH_SECONDS: rehash } = environment(operator);
      return [look, rehash];
    };
    expect(await check()).toEqual(['60', '604800']);
    expect(await check('agent.checkSeconds=5', 'agent.rehashSeconds=31536000')).toEqual([
      '5',
      '31536000',
    ]);
  });

  it('tells the operator what a namespace may take of a disk', async () => {
    const shares = async (...values: string[]) => {
      const operator = find(await render(...values), 'Deployment', 'sluice-operator');
      return environment(operator).SLUICE_NAMESPACE_SHARES;
    };
    expect(await shares()).toBe('*=100%');
    const set = 'agent.namespaceShares';
    expect(
      await shares(`${set}.default=50%`, `${set}.namespaces.b=200Gi`, `${set}.namespaces.a=0%`),
    ).toBe('*=50%,a=0%,b=200Gi');
  });

  it('lets who may view or edit a namespace do so with its Distributions, and nobody more', async () => {
    const objects = await render();
    const role = (name: string) =>
      find(objects, 'ClusterRole', name) as unknown as {
        metadata: { labels: Record<string, string> };
        rules: { resources: string[]; verbs: string[] }[];
      };
    const reaches = (name: string) =>
      Object.keys(role(name).metadata.labels)
        .flatMap((label) => /aggregate-to-(.*)/.exec(label)?.[1] ?? [])
        .toSorted();
    expect(reaches('sluice-view')).toEqual(['admin', 'edit', 'view']);
    expect(reaches('sluice-edit')).toEqual(['admin', 'edit']);
    expect(role('sluice-view').rules).toMatchObject([
      { resources: ['distributions'], verbs: ['get', 'list', 'watch'] },
    ]);
    expect(role('sluice-edit').rules).toMatchObject([{ resources: ['distributions'] }]);
    const without = (await render('aggregateRoles=false')).map(({ metadata }) => metadata.name);
    expect(without.filter((name) => /^sluice-(view|edit)$/.test(name))).toEqual([]);
  });

  it('tells the operator of the pods that it makes, in words that it understands', async () => {
    const read = async (...values: string[]) => {
      const operator = find(await render(...values), 'Deployment', 'sluice-operator');
      const given = environment(operator) as Record<string, string>;
      const needed = { SLUICE_NAMESPACE: 'a', SLUICE_POD_NAME: 'b', SLUICE_POD_IP: '10.0.0.1' };
      return parseConfig({ ...given, ...needed });
    };
    const plain = await read();
    expect(plain.agentPod).toMatchObject(DEFAULT_AGENT_POD);
    expect(plain.relayPod).toMatchObject(DEFAULT_RELAY_POD);
    const config = await read(
      'relay.tolerations[0].key=gpu',
      'relay.cache.size=200Gi',
      'relay.cache.storageClassName=fast',
      'agent.seLinuxOptions.type=spc_t',
      'agent.priorityClassName=',
      'originCA.configMapName=our-ca',
    );
    expect(config.relayPod).toMatchObject({
      tolerations: [{ key: 'gpu' }],
      cache: { size: '200Gi', storageClassName: 'fast' },
    });
    expect(config.agentPod).toMatchObject({
      seLinuxOptions: { type: 'spc_t' },
      priorityClassName: '',
    });
    expect(config.originCa).toBe('our-ca');
    expect(await refusal('relay.cache.size=much')).toContain('size');
  });

  it('brings the CRDs as they are in crds/, and keeps them when the release is uninstalled', async () => {
    const crds = (await render()).filter((o) => o.kind === 'CustomResourceDefinition');
    expect(crds.map((o) => o.metadata.name).sort()).toEqual([
      'distributions.sluice.dev',
      'origins.sluice.dev',
    ]);
    for (const crd of crds) {
      const file = path.resolve(chart, `../../crds/${crd.metadata.name}.yaml`);
      const written = parse(await readFile(file, 'utf8')) as Rendered;
      const annotations = { 'helm.sh/resource-policy': 'keep' };
      expect(crd).toEqual({ ...written, metadata: { ...written.metadata, annotations } });
    }
    const without = await render('crds.install=false');
    expect(without.filter((o) => o.kind === 'CustomResourceDefinition')).toEqual([]);
  });

  it('adds a disruption budget only when there is more than one replica', async () => {
    const budget = (objects: Rendered[]) =>
      objects.filter((o) => o.kind === 'PodDisruptionBudget').length;
    expect(budget(await render())).toBe(0);
    expect(budget(await render('operator.replicas=2'))).toBe(1);
  });

  it('runs the bundled MongoDB as a replica set that initiates itself', async () => {
    const objects = await render();
    const mongodb = container(find(objects, 'StatefulSet', 'sluice-mongodb'));
    expect(mongodb).toMatchObject({ image: 'mongo:8', command: ['mongod'] });
    expect(mongodb.args).toContain('--replSet=rs0');
    const host = 'sluice-mongodb-0.sluice-mongodb.sluice-system.svc:27017';
    expect(mongodb.startupProbe?.exec?.command.at(-1)).toContain(`host: '${host}'`);
    expect(environment(find(objects, 'Deployment', 'sluice-operator')).SLUICE_MONGODB_URI).toBe(
      `mongodb://${host}/sluice?replicaSet=rs0`,
    );
  });

  it('runs another server in its place, without a replica set', async () => {
    const objects = await render(
      'mongodb.bundled.image.repository=ferretdb',
      'mongodb.bundled.image.tag=1.24.0',
      'mongodb.bundled.args={--listen,:27017}',
      'mongodb.bundled.replicaSet=false',
      'mongodb.bundled.dataPath=/data',
      'mongodb.bundled.storage.storageClassName=-',
    );
    const statefulSet = find(objects, 'StatefulSet', 'sluice-mongodb');
    const server = container(statefulSet);
    expect(server).toMatchObject({ image: 'ferretdb:1.24.0', args: ['--listen', ':27017'] });
    expect(server.command).toBeUndefined();
    expect(server.startupProbe).toBeUndefined();
    expect(server.volumeMounts).toContainEqual({ name: 'data', mountPath: '/data' });
    expect(statefulSet.spec.volumeClaimTemplates?.[0]?.spec.storageClassName).toBe('');
    expect(environment(find(objects, 'Deployment', 'sluice-operator')).SLUICE_MONGODB_URI).toBe(
      'mongodb://sluice-mongodb-0.sluice-mongodb.sluice-system.svc:27017/sluice?directConnection=true',
    );
  });

  it('takes the connection string of an external MongoDB from its Secret', async () => {
    const objects = await render(
      'mongodb.mode=External',
      'mongodb.external.uriSecretRef.name=database',
    );
    expect(environment(find(objects, 'Deployment', 'sluice-operator')).SLUICE_MONGODB_URI).toEqual({
      secretKeyRef: { name: 'database', key: 'uri' },
    });
    expect(objects.filter((o) => o.metadata.name === 'sluice-mongodb')).toEqual([]);
  });

  it.each([
    ['mongodb.mode=bundled', "'/mongodb/mode': value must be one of 'Bundled', 'External'"],
    ['mongodb.mode=External', 'mongodb.external.uriSecretRef.name must name the Secret'],
    ['operator.replica=3', "'/operator': additional properties 'replica' not allowed"],
    ['operator.replicas=0', "'/operator/replicas': minimum: got 0, want 1"],
    ['operator.defaultLimits.maxBandwidth=fast', "'/operator/defaultLimits/maxBandwidth': 'fast'"],
    ...['0.0', '0.5', '0.0001k', '1.1Pi', '2Pi', '1024.1Ti', '99999999999999999999'].map<
      [string, string]
    >((rate) => [
      `operator.defaultLimits.maxBandwidth=${rate}`,
      `operator.defaultLimits.maxBandwidth is "${rate}"; write a quantity from 1 to 1Pi`,
    ]),
    ['agent.root=relative', "'/agent/root': 'relative'"],
    ...['/..', '/var/../etc', '/var/.', '/./var', '/var/..'].map<[string, string]>((root) => [
      `agent.root=${root}`,
      `'/agent/root': '${root}'`,
    ]),
    [
      'agent.namespaceShares.default=0.5',
      'agent.namespaceShares.default is "0.5"; write a quantity from 1 to 4Pi',
    ],
    [
      'agent.namespaceShares.namespaces.team=5Pi',
      'agent.namespaceShares.namespaces.team is "5Pi"; write a quantity from 1 to 4Pi',
    ],
    [
      'relay.cache.storageClassName=fast',
      'relay.cache.storageClassName (fast) needs relay.cache.size; set it',
    ],
    ['mongodb.bundled.image.tag=', 'mongodb.bundled.image.tag is empty; name the version'],
    ['agent.minFreePercent=91', "'/agent/minFreePercent': maximum: got 91, want 90"],
    ['agent.minFreePercent=5%', "'/agent/minFreePercent': got string, want integer"],
    ['agent.checkSeconds=0', "'/agent/checkSeconds': minimum: got 0, want 1"],
    ['agent.rehashSeconds=1w', "'/agent/rehashSeconds': got string, want integer"],
    ['agent.namespaceShares.default=101%', "'/agent/namespaceShares/default': '101%'"],
    ['agent.namespaceShares.namespaces.Team=1%', "invalid propertyName 'Team'"],
    ['relay.image.pullPolicy=Always', 'must be the same'],
  ])('refuses %s and names the field', async (value, message) => {
    expect(await refusal(value)).toContain(message);
  });

  it('takes all that the operator takes', async () => {
    const operator = async (...values: string[]) =>
      environment(find(await render(...values), 'Deployment', 'sluice-operator'));
    for (const rate of ['1Pi', '1024Ti', '0.001k', '1P', '1.5Gi']) {
      const given = await operator(`operator.defaultLimits.maxBandwidth=${rate}`);
      expect(given.SLUICE_DEFAULT_MAX_BANDWIDTH).toBe(rate);
    }
    for (const root of ['/a/.b', '/..a/b..', '/.../c', '/var/lib/sluice-1_2']) {
      expect((await operator(`agent.root=${root}`)).SLUICE_AGENT_ROOT).toBe(root);
    }
    const kept = await operator('agent.namespaceShares.default=null');
    expect(kept.SLUICE_NAMESPACE_SHARES).toBe('*=100%');
    const most = await operator('agent.namespaceShares.default=4Pi');
    expect(most.SLUICE_NAMESPACE_SHARES).toBe('*=4Pi');
  });

  it('annotates its pods as it is told, also where it has an annotation of its own', async () => {
    const key = 'operator.podAnnotations.prometheus\\.io/path';
    const operator = find(await render(`${key}=/stats`), 'Deployment', 'sluice-operator');
    expect(operator.spec.template.metadata?.annotations).toEqual({
      'prometheus.io/scrape': 'true',
      'prometheus.io/port': '8080',
      'prometheus.io/path': '/stats',
    });
  });
});
