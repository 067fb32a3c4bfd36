/** Every pod that Sluice runs, before the Pod Security admission of a real API server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agentDaemonSet, relayDeployment } from '../operator/src/controllers/fleet/manifests.ts';
import { startApiServer, type TestApiServer } from '../operator/src/testing/adapters/apiServer.ts';
import { TEST_FLEET } from '../operator/src/testing/adapters/controllersSetup.ts';
import { renderChart } from './helm.ts';

const RESTRICTED = 'restricted';
const OPTIONS = { ...TEST_FLEET, namespace: RESTRICTED, relayStockPort: 6889 };

interface Workload {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly template: { readonly metadata?: object; readonly spec: Record<string, unknown> };
  };
}

describe('a namespace that enforces Pod Security restricted', () => {
  let server: TestApiServer;

  beforeAll(async () => {
    server = await startApiServer();
    const labels = { 'pod-security.kubernetes.io/enforce': RESTRICTED };
    const metadata = { name: RESTRICTED, labels };
    await create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata });
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } };
    await create(`/api/v1/namespaces/${RESTRICTED}/serviceaccounts`, account);
  });
  afterAll(() => server?.stop());

  async function create(path: string, body: object, query = {}): Promise<void> {
    await server.admin.request({ method: 'POST', path, body, query });
  }

  /** What the API server says to a pod of this workload; nothing is kept. */
  async function admit({ kind, metadata: { name }, spec }: Workload): Promise<string> {
    // Its account and priority class are made by others than this test.
    const { serviceAccountName: _, priorityClassName: __, ...rest } = spec.template.spec;
    const claims = kind === 'StatefulSet' ? [{ name: 'data', emptyDir: {} }] : [];
    const volumes = [...((rest.volumes as object[] | undefined) ?? []), ...claims];
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: { automountServiceAccountToken: false, ...rest, volumes },
    };
    const path = `/api/v1/namespaces/${RESTRICTED}/pods`;
    return create(path, pod, { dryRun: 'All' }).then(
      () => 'admitted',
      (error: Error) => error.message,
    );
  }

  it('admits the operator, the database and the uninstall hook', async () => {
    const rendered = await renderChart<Workload>();
    const workloads = rendered.filter(({ kind }) =>
      ['Deployment', 'StatefulSet', 'Job', 'DaemonSet', 'CronJob'].includes(kind),
    );
    const said = Object.fromEntries(
      await Promise.all(
        workloads.map(async (one) => [`${one.kind} ${one.metadata.name}`, await admit(one)]),
      ),
    );
    expect(said).toEqual({
      'Deployment sluice-operator': 'admitted',
      'StatefulSet sluice-mongodb': 'admitted',
      'Job sluice-uninstall': 'admitted',
    });
  });

  it('admits the relays', async () => {
    const need = { topologyKey: 'topology.kubernetes.io/zone', domain: 'a', replicas: 1 };
    const deployment = relayDeployment(OPTIONS, undefined, need);
    expect(await admit({ kind: 'Deployment', ...deployment } as unknown as Workload)).toBe(
      'admitted',
    );
  });

  it('refuses the agent for its folder of the node and its user, and for nothing else', async () => {
    const daemonSet = agentDaemonSet(OPTIONS, undefined);
    const said = await admit({ kind: 'DaemonSet', ...daemonSet } as unknown as Workload);
    const violations = said.slice(said.indexOf('violates PodSecurity'));
    expect(violations.match(/(?<=[,:] )[a-zA-Z0-9 !=]+(?= \()/g)).toEqual([
      'restricted volume types',
      'runAsNonRoot != true',
      'runAsUser=0',
    ]);
  });
});
