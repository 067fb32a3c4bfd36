import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from 'winston';
import { KubeError, type KubeRequest } from '../../kube/client.ts';
import type { RelayDemand } from '../../policies/relays.ts';
import { FakeClock, steadyRandom } from '../../testing/fakeClock.ts';
import { FleetController, type FleetControllerDependencies } from './controller.ts';
import { type FleetOptions, relayName } from './manifests.ts';
import { DEFAULT_AGENT_POD, DEFAULT_RELAY_POD } from './podSettings.ts';

const ZONE = 'topology.kubernetes.io/zone';

let clock: FakeClock;
let controller: FleetController;
/** By name of the Deployment. */
let replicas: Map<string, number>;

beforeEach(async () => {
  clock = new FakeClock();
  replicas = new Map();
  const dependencies = {
    client: {
      request: async ({ method, path, body }: KubeRequest) => {
        if (method === 'GET') throw new KubeError('NotFound', 404, 'no owner');
        const name = path.split('/').at(-1)!;
        const { spec } = body as { spec: { replicas: number } };
        if (path.includes('/deployments/')) replicas.set(name, spec.replicas);
        return { metadata: { name, uid: `uid-${name}`, generation: 1 } };
      },
    },
    deployments: { list: () => [], get: () => undefined },
    daemonSets: { list: () => [], get: () => undefined },
    clock,
    random: steadyRandom,
    logger: createLogger({ silent: true }),
  };
  controller = new FleetController(
    {
      namespace: 'sluice-system',
      relayIdleSeconds: 60,
      relayPod: DEFAULT_RELAY_POD,
      agentPod: DEFAULT_AGENT_POD,
    } as FleetOptions,
    dependencies as unknown as FleetControllerDependencies,
  );
  controller.start();
  await clock.advance(1_000);
});

afterEach(() => controller.stop());

let looks = 0;

function demandOf(nodes: number, waiting: number): RelayDemand {
  const domains = new Map([['a', { nodes, waiting }]]);
  return {
    topologyKey: ZONE,
    nodesPerRelay: 10,
    get domains() {
      looks += 1;
      return domains;
    },
  };
}

async function runs(): Promise<number | undefined> {
  await clock.advance(1_000);
  return replicas.get(relayName({ topologyKey: ZONE, domain: 'a' }));
}

it('a domain has the relays that the largest distribution asks for, as long as one waits', async () => {
  controller.setDemand('one', demandOf(20, 20));
  controller.setDemand('two', demandOf(40, 40));
  expect(await runs()).toBe(4);
  controller.setDemand('two', demandOf(50, 1));
  expect(await runs()).toBe(5);
  controller.setDemand('two', demandOf(50, 0));
  await clock.advance(61_000);
  expect(await runs()).toBe(2);
  controller.setDemand('two', demandOf(30, 1));
  expect(await runs()).toBe(3);
  controller.setDemand('two', undefined);
  controller.setDemand('one', undefined);
  await clock.advance(120_000);
  replicas.clear();
  await clock.advance(120_000);
  expect(await runs()).toBeUndefined();
});

it('what a distribution says again is not counted anew with all others', async () => {
  for (let uid = 0; uid < 100; uid += 1) controller.setDemand(`${uid}`, demandOf(20, 20));
  await clock.advance(1_000);
  looks = 0;
  for (let waiting = 19; waiting > 0; waiting -= 1)
    controller.setDemand('1', demandOf(20, waiting));
  controller.setDemand('another', demandOf(20, 0));
  controller.setDemand('another', undefined);
  expect(looks).toBe(20);
});
