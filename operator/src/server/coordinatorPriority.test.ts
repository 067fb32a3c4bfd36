/** The priority of a distribution, as leases see it. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { anOriginPolicy } from '../testing/leasing.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';

let test: TestCoordinator;
/** With what it was leased last. */
let leased: number | undefined;

beforeEach(async () => {
  test = await new TestCoordinator().start();
  const { leases } = test;
  const { setDistribution } = leases;
  leases.setDistribution = (distribution) => {
    leased = distribution.priority;
    setDistribution.call(leases, distribution);
  };
});
afterEach(() => test.stop());

function apply(priority: number): number | undefined {
  test.coordinator.apply(aPlanOf(aRecord(), { priority }));
  return leased;
}

function setMaxPriority(maxPriority: number | undefined): number | undefined {
  const hosts = ['origin.example.com'];
  test.coordinator.setOrigins([anOriginPolicy({}, { hosts, maxPriority })]);
  return leased;
}

it('is no higher than its Origin allows, whichever of the two is edited', () => {
  setMaxPriority(10);
  expect(apply(90)).toBe(10);
  expect(apply(5)).toBe(5);
  expect(apply(50)).toBe(10);
  expect(setMaxPriority(30)).toBe(30);
  expect(setMaxPriority(0)).toBe(0);
  expect(setMaxPriority(100)).toBe(50);
});

it('is its own where no Origin says one, or none covers the host', () => {
  setMaxPriority(undefined);
  expect(apply(90)).toBe(90);
  expect(setMaxPriority(10)).toBe(10);
  test.coordinator.setOrigins([]);
  expect(leased).toBe(90);
});
