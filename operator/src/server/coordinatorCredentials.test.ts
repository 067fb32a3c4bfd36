/** A distribution that may take nothing from its origin, as processes and leases see it. */
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import { expect, it } from 'vitest';
import type { DistributionPlan } from '../controllers/dataSide.ts';
import { settle } from '../testing/fakeClock.ts';
import { anOriginPolicy } from '../testing/leasing.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';

const keys = generateFeedKeyPair();
const record = aRecord({
  feedPublicKey: keys.publicKey.toString('base64'),
  feedSeed: keys.seed.toString('base64'),
});

it.each<[string, Partial<DistributionPlan>, string]>([
  ['whose credentials cannot be read', { headers: {}, lacksCredentials: true }, 'ml'],
  ['whose Origin refuses its namespace', {}, 'other'],
])('one %s is told, and leased once it may', async (_, change, namespace) => {
  const test = await new TestCoordinator().start();
  const { clock, coordinator, leases } = test;
  const relay = test.connect('relay', 'r1', 'zone-a');
  const apply = (change: Partial<DistributionPlan>) => coordinator.apply(aPlanOf(record, change));
  let sequence = 0;
  const ask = async () => {
    sequence += 1;
    const wants = { wantConnections: 1, wantRateBytesPerSecond: 1_000_000 };
    const pullerKey = generateFeedKeyPair().publicKey.toString('base64');
    const base = { incarnation: 'incarnation', uid: record.uid, epoch: 1, pullerKey };
    const request = { ...base, sequence, op: 'acquire', ...wants } as LeaseRequest;
    const answer = leases.answer(relay, request);
    await settle();
    return answer;
  };

  const allow = (allowed: string) => {
    const policy = { hosts: ['origin.example.com'], namespaces: [allowed] };
    coordinator.setOrigins([anOriginPolicy({}, policy)]);
  };
  allow(namespace);
  apply(change);
  coordinator.primed();
  await clock.advance(1_000);
  expect(test.told.get('r1')?.map(({ type }) => type)).toContain('task');
  expect(await ask()).toMatchObject({ outcome: 'wait' });
  allow('ml');
  apply({});
  await clock.advance(1_000);
  expect(await ask()).toMatchObject({ outcome: 'granted' });
  test.stop();
});
