/** The controllers on a real API server, as a test needs them: nodes and Distributions that come and go. */
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { createLogger } from 'winston';
import type { Distribution } from '../../api/v1alpha1/distribution.ts';
import { Controllers, type ControllersOptions } from '../../controllers/controllers.ts';
import type { FleetOptions } from '../../controllers/fleet/manifests.ts';
import { DEFAULT_AGENT_POD, DEFAULT_RELAY_POD } from '../../controllers/fleet/podSettings.ts';
import type { KubeClient } from '../../kube/client.ts';
import { listPath, objectPath, type Resource, resources } from '../../kube/paths.ts';
import { steadyRandom } from '../fakeClock.ts';
import type { FakeDataSide } from '../fakeDataSide.ts';
import { OPERATOR_NAMESPACE, startApiServer, type TestApiServer } from './apiServer.ts';

export const TEST_FLEET: FleetOptions = {
  namespace: OPERATOR_NAMESPACE,
  relayImage: 'relay:1',
  relayStockPort: 0,
  agentImage: 'agent:1',
  imagePullPolicy: 'Never',
  relayIdleSeconds: 600,
  relayBounds: { maxRelays: 256, maxPerDomain: 64, topologyKeys: [] },
  agentRoot: '/var/lib/sluice',
  minFreePercent: 15,
  checkSeconds: 60,
  rehashSeconds: 604_800,
  namespaceShares: '*=100%',
  controlPort: 8443,
  logLevel: 'info',
  relayPod: DEFAULT_RELAY_POD,
  agentPod: DEFAULT_AGENT_POD,
  originCa: '',
};

export interface TestControllersOptions {
  readonly client: KubeClient;
  readonly data: FakeDataSide;
  readonly fleet?: Partial<FleetOptions>;
  readonly workloads?: ControllersOptions['workloads'];
  readonly clock?: Clock;
}

/** Not started yet. */
export function testControllers({
  client,
  data,
  fleet,
  workloads = { persistentVolumeClaims: true, nodeLabels: true },
  clock = systemClock,
}: TestControllersOptions): Controllers {
  return new Controllers(
    { instance: 'test', fleet: { ...TEST_FLEET, ...fleet }, workloads },
    {
      client,
      coordinator: data,
      epochs: data,
      troubles: data.troubles,
      clock,
      random: steadyRandom,
      wallTime: () => new Date().toISOString(),
      logger: createLogger({ silent: true }),
    },
  );
}

/** Started and leading. */
export async function leadingControllers(options: TestControllersOptions): Promise<Controllers> {
  const controllers = testControllers(options);
  await controllers.start(new AbortController().signal);
  await controllers.lead();
  return controllers;
}

/** What a user does with kubectl. */
export class TestCluster {
  readonly api: TestApiServer;

  static async start(): Promise<TestCluster> {
    return new TestCluster(await startApiServer());
  }

  private constructor(api: TestApiServer) {
    this.api = api;
  }

  async addNode(name: string, labels: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.api.addNode(name, labels);
  }

  async deleteNode(name: string): Promise<void> {
    await this.api.admin.request({ method: 'DELETE', path: objectPath(resources.nodes, { name }) });
  }

  async patchNode(name: string, body: object, subresource = ''): Promise<void> {
    const path = objectPath(resources.nodes, { name }) + subresource;
    await this.#patch(path, body);
  }

  async setReady(name: string, status: 'True' | 'False' | 'Unknown'): Promise<void> {
    await this.patchNode(name, { status: { conditions: [{ type: 'Ready', status }] } }, '/status');
  }

  async apply(name: string, spec: object = {}): Promise<Distribution> {
    return this.api.admin.request<Distribution>({
      method: 'POST',
      path: listPath(resources.distributions, 'default'),
      body: {
        apiVersion: 'sluice.dev/v1alpha1',
        kind: 'Distribution',
        metadata: { name, namespace: 'default' },
        spec: {
          source: { url: `http://origin.example.com/${name}.bin` },
          target: { path: name },
          ...spec,
        },
      },
    });
  }

  async edit(name: string, spec: object): Promise<void> {
    await this.patch(name, { spec });
  }

  async patch(name: string, body: object): Promise<void> {
    await this.#patch(pathOf(name), body);
  }

  async delete(name: string): Promise<void> {
    await this.api.admin.request({ method: 'DELETE', path: pathOf(name) });
  }

  read(name: string): Promise<Distribution> {
    return this.api.admin.request<Distribution>({ method: 'GET', path: pathOf(name) });
  }

  async ready(name: string) {
    const { status } = await this.read(name);
    return status?.conditions?.find(({ type }) => type === 'Ready');
  }

  /** Of the operator's namespace. */
  async list<T>(resource: Resource): Promise<T[]> {
    const path = listPath(resource, OPERATOR_NAMESPACE);
    return (await this.api.admin.request<{ items: T[] }>({ method: 'GET', path })).items;
  }

  async #patch(path: string, body: object): Promise<void> {
    const contentType = 'application/merge-patch+json';
    await this.api.admin.request({ method: 'PATCH', path, contentType, body });
  }
}

function pathOf(name: string): string {
  return objectPath(resources.distributions, { namespace: 'default', name });
}
