import { createLogger } from 'winston';
import type { Distribution } from '../api/v1alpha1/distribution.ts';
import type { DistributionControllerDependencies } from '../controllers/distribution/controller.ts';
import { type FakeClock, steadyRandom } from './fakeClock.ts';
import type { FakeDataSide } from './fakeDataSide.ts';
import { noWorkloads } from './noWorkloads.ts';

/** What the wall's clock says when a fake one begins. */
export const WALL_START_MS = 1_800_000_000_000;

/** The copy that a reflector keeps. */
export function copyOf(objects: ReadonlyMap<string, Distribution>) {
  return {
    refresh: async () => {},
    list: () => objects.values(),
    get: (key: string) => objects.get(key),
    indexed: () => objects.values(),
  };
}

/**
 * What a DistributionController has around it where a test says nothing else: no relays, no pods,
 * nobody who reads events. Nodes and the API server are the test's.
 */
export function controllerDependencies(
  own: {
    readonly clock: FakeClock;
    readonly data: FakeDataSide;
    readonly objects: ReadonlyMap<string, Distribution>;
  },
  change: { readonly nodes: object; readonly api: object } & Partial<
    Readonly<Record<keyof DistributionControllerDependencies, unknown>>
  >,
): DistributionControllerDependencies {
  const { clock, data, objects } = own;
  const dependencies = {
    distributions: copyOf(objects),
    namespaces: { get: () => undefined },
    coordinator: data,
    epochs: data,
    troubles: data.troubles,
    fleet: { setDemand: () => {}, relayStates: () => [], onChange: () => {} },
    workloads: noWorkloads,
    events: { record: () => {} },
    clock,
    random: steadyRandom,
    wallTime: () => new Date(WALL_START_MS + clock.now()).toISOString(),
    logger: createLogger({ silent: true }),
    ...change,
  };
  return dependencies as unknown as DistributionControllerDependencies;
}
