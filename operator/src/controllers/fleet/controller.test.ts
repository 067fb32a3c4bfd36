import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogger } from 'winston';
import { KubeError, type KubeRequest } from '../../kube/client.ts';
import type { RelayBounds, RelayDemand } from '../../policies/relays.ts';
import { FakeClock, steadyRandom } from '../../testing/fakeClock.ts';
import { FleetController, type FleetControllerDependencies } from './controller.ts';
import { type FleetOptions, relayName } from './manifests.ts';
import { DEFAULT_AGENT_POD, DEFAULT_RELAY_POD } from './podSettings.ts';

const ZONE = 'topology.kubernetes.io/zone';
const BOUNDS: RelayBounds = { maxRelays: 6, maxPerDomain: 5, topologyKeys: [ZONE] };

/** Of metadata: a stranger has paused it. */
const PAUSED = {
  managedFields: [
    { manager: 'sluice-operator', fieldsV1: { 'f:spec': { 'f:replicas': {} } } },
    { manager: 'someone', fieldsV1: { 'f:spec': { 'f:paused': {} } } },
  ],
};

let clock: FakeClock;
let controller: FleetController;
/** By name of the Deployment. */
let replicas: Map<string, number>;
/** Deployments and the DaemonSet, by name, as the API server has them. */
let objects: Map<string, object>;
/** Names of what was applied, in order. */
let applied: string[];
/** Of metadata: who else writes it, again as soon as it is removed. */
let foreign: object;
let removed: { readonly name: string; readonly body: readonly object[] }[];
/** So often something is removed from an object that has just been changed. */
let racesLost: number;

beforeEach(async () => {
  clock = new FakeClock();
  replicas = new Map();
  objects = new Map();
  applied = [];
  foreign = {};
  removed = [];
  racesLost = 0;
  const dependencies = {
    client: {
      request: async ({ method, path, body }: KubeRequest) => {
        if (method === 'GET') throw new KubeError('NotFound', 404, 'no owner');
        const name = path.split('/').at(-1)!;
        if (Array.isArray(body)) {
          removed.push({ name, body });
          if (removed.length <= racesLost) throw new KubeError('Invalid', 422, 'the test failed');
          const metadata = { name, uid: `uid-${name}`, generation: 2 * removed.length };
          const written = { ...metadata, generation: metadata.generation + 1 };
          objects.set(`sluice-system/${name}`, { metadata: written });
          return { metadata };
        }
        const { spec, metadata } = body as { spec: { replicas: number }; metadata: object };
        if (path.includes('/deployments/')) replicas.set(name, spec.replicas);
        const isBudget = path.includes('/poddisruptionbudgets/');
        applied.push(isBudget ? `budget of ${name}` : name);
        const facts = { name, uid: `uid-${name}`, generation: 1, resourceVersion: '7' };
        const object = { metadata: { ...metadata, ...facts, ...foreign }, spec: { paused: true } };
        if (!isBudget) objects.set(`sluice-system/${name}`, object);
        return object;
      },
    },
    deployments: { list: () => [], get: (key: string) => objects.get(key) },
    daemonSets: { list: () => [], get: (key: string) => objects.get(key) },
    clock,
    random: steadyRandom,
    logger: createLogger({ silent: true }),
  };
  controller = new FleetController(
    {
      namespace: 'sluice-system',
      relayIdleSeconds: 60,
      relayBounds: BOUNDS,
      relayPod: DEFAULT_RELAY_POD,
      agentPod: DEFAULT_AGENT_POD,
    } as FleetOptions,
    dependencies as unknown as FleetControllerDependencies,
  );
  controller.start();
  await clock.advance(1_000);
});

afterEach(() => controller.stop());

it('what strangers add again and again is removed a few times, and then left', async () => {
  const name = relayName({ topologyKey: ZONE, domain: 'a' });
  foreign = PAUSED;
  controller.setDemand('one', demandOf(20, 20));
  for (let looked = 0; looked < 20; looked += 1) {
    await clock.advance(60_000);
  }
  expect(removed.filter((each) => each.name === name)).toHaveLength(5);
  expect(removed.at(-1)?.body).toEqual([
    { op: 'test', path: '/metadata/resourceVersion', value: '7' },
    { op: 'remove', path: '/spec/paused' },
  ]);
  await clock.advance(3_600_000);
  expect(removed.filter((each) => each.name === name).length).toBeGreaterThan(5);
});

it('what was not removed because its object had just changed is removed a minute later', async () => {
  const name = relayName({ topologyKey: ZONE, domain: 'a' });
  foreign = PAUSED;
  racesLost = 1;
  controller.setDemand('one', demandOf(20, 20));
  await clock.advance(1_000);
  const tries = () => removed.filter((each) => each.name === name).length;
  expect(tries()).toBe(1);
  await clock.advance(60_000);
  expect(tries()).toBe(2);
});

let looks = 0;

function demandOf(nodes: number, waiting: number): RelayDemand {
  const domains = new Map([['a', { nodes, waiting }]]);
  return {
    namespace: 'ml',
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

it('a domain has no more relays than it may, and it is told how many were asked for', async () => {
  const stateOf = (topologyKey: string) =>
    controller.relayStates({ topologyKey }, new Set(['a']))[0]?.bound;
  controller.setDemand('one', demandOf(50, 50));
  expect(await runs()).toBe(5);
  expect(stateOf(ZONE)).toBeUndefined();
  controller.setDemand('one', demandOf(51, 1));
  expect(await runs()).toBe(5);
  expect(stateOf(ZONE)).toEqual({ asked: 6, granted: 5 });
  const rack = 'example.com/rack';
  controller.setDemand('two', { ...demandOf(20, 20), topologyKey: rack });
  await clock.advance(1_000);
  expect(replicas.size).toBe(1);
  expect(stateOf(rack)).toEqual({ asked: 2, granted: 0, topologyKeys: [ZONE] });
});

it('what is as it was applied is not applied again each minute, and what is not is', async () => {
  const name = relayName({ topologyKey: ZONE, domain: 'a' });
  controller.setDemand('one', demandOf(10, 10));
  await runs();
  expect(applied.toSorted()).toEqual([`budget of ${name}`, 'sluice-agent', name].toSorted());
  applied = [];
  for (let minutes = 0; minutes < 8; minutes += 1) await clock.advance(60_000);
  expect(applied).toEqual([]);
  const key = `sluice-system/${name}`;
  const { metadata } = objects.get(key) as { metadata: { labels: object } };
  objects.set(key, { metadata: { ...metadata, labels: {} } });
  await clock.advance(60_000);
  expect(applied).toEqual([name]);
  // Budgets are in no copy, and a copy may be wrong for a reason that nobody has thought of.
  for (let minutes = 0; minutes < 40; minutes += 1) await clock.advance(60_000);
  const times = (what: string) => applied.filter((each) => each === what).length;
  expect(times(`budget of ${name}`)).toBeGreaterThanOrEqual(4);
  expect(times('sluice-agent')).toBe(1);
});
