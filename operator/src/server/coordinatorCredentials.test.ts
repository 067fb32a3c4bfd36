/** A distribution whose credentials cannot be read, as processes and leases see it. */
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseRequest, WorkMessage } from '@sluice/protocol/messages.ts';
import { expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { DistributionPlan } from '../controllers/dataSide.ts';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import { aLeaseService } from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { Coordinator } from './coordinator.ts';

const keys = generateFeedKeyPair();
const record = aRecord({
  feedPublicKey: keys.publicKey.toString('base64'),
  feedSeed: keys.seed.toString('base64'),
});

it('is told, and leased once they can be', async () => {
  const clock = new FakeClock();
  const leases = aLeaseService({ store: new MemoryJournal(), clock });
  const coordinator = new Coordinator({
    leases,
    assignments: {
      load: async () => [],
      save: async () => {},
      delete: async () => {},
      deleteNodes: async () => {},
    },
    revocations: { saveRevoked: async () => {} },
    clock,
    logger: createLogger({ silent: true }),
  });
  leases.lead(1);
  coordinator.start();
  coordinator.setOrigins([]);
  const told: WorkMessage[] = [];
  const session = {
    id: 'relay',
    protocolVersion: 1,
    kind: 'relay' as const,
    node: 'r1',
    domain: 'zone-a',
    host: 'r1',
    bitTorrentPort: 6881,
    httpPort: undefined,
    pod: 'r1',
    podUid: 'r1',
    expiresAtMs: Number.POSITIVE_INFINITY,
  };
  const stream = { send: (message: WorkMessage) => told.push(message), close: () => {} };
  coordinator.fleet.open(session, stream, clock.now());
  const apply = (change: Partial<DistributionPlan>) => coordinator.apply(aPlanOf(record, change));
  let sequence = 0;
  const ask = async () => {
    sequence += 1;
    const wants = { wantConnections: 1, wantRateBytesPerSecond: 1_000_000 };
    const pullerKey = generateFeedKeyPair().publicKey.toString('base64');
    const base = { incarnation: 'incarnation', uid: record.uid, epoch: 1, pullerKey };
    const request = { ...base, sequence, op: 'acquire', ...wants } as LeaseRequest;
    const answer = leases.answer({ id: 'relay', kind: 'relay' }, request);
    await settle();
    return answer;
  };

  apply({ headers: {}, lacksCredentials: true });
  coordinator.primed();
  await clock.advance(1_000);
  expect(told.map(({ type }) => type)).toContain('task');
  expect(await ask()).toMatchObject({ outcome: 'wait' });
  apply({});
  await clock.advance(1_000);
  expect(await ask()).toMatchObject({ outcome: 'granted' });
  coordinator.stop();
  leases.stepDown();
});
