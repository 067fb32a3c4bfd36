import { describe, expect, it } from 'vitest';
import { aProgress } from '../testing/objects.ts';
import { aStatusInput } from '../testing/statusInput.ts';
import { type RelayState, type RelaysInput, relaysAvailable } from './relaysAvailable.ts';

/** A relay of the domain a. */
const noRoom = { domain: 'a', reason: 'DiskPressure', message: 'the disk has 1 GiB free' };

describe('the condition of relays', () => {
  it.each<[string, Partial<RelaysInput>, string]>([
    [
      'says which relays are missing',
      { relays: [{ domain: 'a', desired: 1, available: 0, missingForMs: 30_001 }] },
      'False/RelaysMissing',
    ],
    [
      'says that all relays of a domain have failed',
      { progress: aProgress([], { failedRelays: [noRoom] }) },
      'False/RelaysFailed',
    ],
    [
      'does not say so while one of them works',
      {
        relays: [{ domain: 'a', desired: 2, available: 2 }],
        progress: aProgress([], { failedRelays: [noRoom, { ...noRoom, domain: 'b' }] }),
      },
      'True/RelaysReady',
    ],
    [
      'does not say so of an epoch before',
      { progress: aProgress([], { epoch: 2, failedRelays: [noRoom] }) },
      'True/RelaysReady',
    ],
    [
      'says that a domain may have no relay',
      {
        relays: [
          { domain: 'a', desired: 1, available: 1, bound: { asked: 2, granted: 1 } },
          { domain: 'b', desired: 0, available: 0, bound: { asked: 3, granted: 0 } },
        ],
      },
      'False/RelaysLimited',
    ],
    [
      'says that relays run, though fewer than were asked for',
      { relays: [{ domain: 'a', desired: 1, available: 1, bound: { asked: 2, granted: 1 } }] },
      'True/RelaysReady',
    ],
  ])('%s', (_name, overrides, expected) => {
    const { status, reason } = relaysAvailable(aStatusInput(overrides)) ?? {};
    expect(`${status}/${reason}`).toBe(expected);
  });
});

it('relays that have no room say how much there is, and what to do', () => {
  const progress = aProgress([], { failedRelays: [noRoom] });
  expect(relaysAvailable(aStatusInput({ progress }))?.message).toBe(
    'no relay of a can work on it: DiskPressure: the disk has 1 GiB free; free space on the disks of their nodes, or give them more by relay.cache of the chart',
  );
});

describe('relays that are bounded', () => {
  const told = (bound: NonNullable<RelayState['bound']>) => {
    const relays = [{ domain: 'a', desired: bound.granted, available: bound.granted, bound }];
    return relaysAvailable(aStatusInput({ relays }))?.message;
  };

  it('say how many there are of how many, what bounds them, and what to do', () => {
    const remedy =
      'relay.maxPerDomain and relay.maxRelays of the chart leave no more; change spec.relays, or ask who runs Sluice';
    expect(told({ asked: 5, granted: 2 })).toBe(
      `each domain has a relay; fewer relays than spec.relays asks for in a (2 of 5): ${remedy}`,
    );
    expect(told({ asked: 1, granted: 0 })).toBe(
      `fewer relays than spec.relays asks for in a (0 of 1): ${remedy}`,
    );
  });

  it('say which labels may make domains', () => {
    expect(told({ asked: 1, granted: 0, topologyKeys: ['zone', 'rack'] })).toBe(
      'spec.relays.topologyKey is none of those that relay.topologyKeys of the chart allows (zone, rack), so it gets no relays; change spec.relays, or ask who runs Sluice',
    );
  });
});
