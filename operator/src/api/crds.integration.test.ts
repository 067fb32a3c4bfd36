/** What the API server makes of custom resources of either kind; what it refuses is tested beside each. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { listPath, resources } from '../kube/paths.ts';
import { CustomResourceApi, specWith } from '../testing/adapters/customResourceApi.ts';
import type { Distribution } from './v1alpha1/distribution.ts';
import type { Origin } from './v1alpha1/origin.ts';

let api: CustomResourceApi;

beforeAll(async () => {
  api = await CustomResourceApi.start();
});
afterAll(() => api?.stop());

describe('the API server', () => {
  it('fills in the defaults', async () => {
    const { spec, status } = await api.create<Distribution>('distributions', specWith({}));
    expect(spec).toMatchObject({
      target: { fileMode: '0644', nodeLabel: false, nodeSelector: {}, keepVersions: 1 },
      delivery: { topUp: ['Relay', 'Origin'], maxOriginShare: '10%', transport: 'Hybrid' },
      relays: { topologyKey: 'topology.kubernetes.io/zone', nodesPerRelay: 200 },
      priority: 0,
      suspend: false,
      progressDeadlineSeconds: 600,
      deletionPolicy: 'Delete',
      deletionGraceSeconds: 3600,
    });
    expect(status).toEqual({ observedGeneration: -1 });
    const origin = await api.create<Origin>('origins', { hosts: ['cdn.example.com'] });
    expect(origin.spec).toMatchObject({
      closeAfter: '120s',
      limits: {},
      allowPrivateAddresses: false,
      allowAgentCredentials: false,
    });
  });

  it.each(['README.md', 'docs/distribution.md', 'docs/origin.md'])(
    'accepts the examples of %s',
    async (page) => {
      const text = await readFile(path.resolve(import.meta.dirname, '../../..', page), 'utf8');
      const examples = [...text.matchAll(/```yaml\n([\s\S]*?)```/g)]
        .map(([, yaml = '']) => parse(yaml) as { kind?: string; spec: object })
        .filter(({ kind }) => kind !== undefined);
      expect(examples.length).toBeGreaterThan(1);
      for (const { kind, spec } of examples) {
        await api.create(kind === 'Origin' ? 'origins' : 'distributions', spec);
      }
    },
  );

  it('shows the columns of the design', async () => {
    const table = await api.server.admin.request<{
      columnDefinitions: { name: string; priority: number }[];
    }>({
      method: 'GET',
      path: listPath(resources.distributions),
      accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
    });
    const names = (priority: number) =>
      table.columnDefinitions.filter((column) => column.priority === priority).map((c) => c.name);
    expect(names(0)).toEqual(['Name', 'Ready', 'Nodes', 'Progress', 'Size', 'Peers', 'ETA', 'Age']);
    expect(names(1)).toEqual(['Rate', 'Failed', 'Message']);
  });
});
