/** Two distributions of the same bytes, as processes and leases see them. */
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { WorkMessage } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EpochRecord } from '../controllers/dataSide.ts';
import type { LeaseService } from '../quota/leaseService.ts';
import { type FakeClock, settle } from '../testing/fakeClock.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';
import type { Coordinator } from './coordinator.ts';
import type { FleetProcess } from './fleetView.ts';

const MIB = 1024 * 1024;
const keys = generateFeedKeyPair();
const puller = generateFeedKeyPair().publicKey.toString('base64');

let test: TestCoordinator;
let clock: FakeClock;
let leases: LeaseService;
let coordinator: Coordinator;
let told: Map<string, WorkMessage[]>;

beforeEach(async () => {
  test = await new TestCoordinator().start();
  ({ clock, leases, coordinator, told } = test);
});
afterEach(() => test.stop());

function connect(kind: 'relay' | 'agent', node: string, domain?: string): FleetProcess {
  return test.connect(kind, node, domain);
}

function applyPlan(uid: string, names: readonly string[], change: Partial<EpochRecord> = {}) {
  const record = aRecord({
    uid,
    files: [{ path: 'file.bin', sizeBytes: MIB, sha256: 'a'.repeat(64) }],
    source: { sizeBytes: MIB, validator: { etag: '"v1"' }, ranges: true },
    pieceCount: 4,
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
    ...change,
  });
  const nodes = names.map((name) => ({ name, domain: 'a' }));
  coordinator.apply(aPlanOf(record, { nodes }));
}

let sequence = 0;

function report(
  process: FleetProcess,
  uid: string,
  state: 'transferring' | 'ready',
  verifiedBytes = MIB,
): void {
  sequence += 1;
  const transfer = {
    uid,
    epoch: 1,
    state,
    verifiedPieces: 4,
    verifiedBytes,
    received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    uploadedBytes: 0,
    rateBytesPerSecond: 0,
  };
  const content = { incarnation: 'incarnation', sequence, transfers: [transfer] };
  coordinator.fleet.report(process, content, clock.now());
}

function taskOf(node: string, uid: string) {
  const last = told
    .get(node)
    ?.findLast((message) => message.type === 'task' && message.task.uid === uid);
  return last?.type === 'task' ? last.task : undefined;
}

async function ask(
  { id, kind }: FleetProcess,
  op: 'acquire' | 'certify',
  uid: string,
): Promise<LeaseAnswer> {
  sequence += 1;
  const base = { incarnation: 'incarnation', sequence, uid, epoch: 1, pullerKey: puller };
  const wants = { wantConnections: 1, wantRateBytesPerSecond: 1_000_000 };
  const request = { ...base, op, ...(op === 'acquire' && wants) } as LeaseRequest;
  const answer = leases.answer({ id, kind }, request);
  await settle();
  return answer;
}

describe('two distributions of the same bytes', () => {
  it('are pulled once: a node that has them signs them for the others', async () => {
    const relay = connect('relay', 'r1');
    const agent = connect('agent', 'n1');
    connect('agent', 'n2');
    applyPlan('first', ['n1']);
    coordinator.primed();
    await clock.advance(1_000);
    report(agent, 'first', 'ready');
    await clock.advance(1_000);

    applyPlan('second', ['n1', 'n2']);
    await clock.advance(2_000);
    const donors = [{ namespace: 'ml', uid: 'first', epoch: 1 }];
    expect(taskOf('n1', 'second')).toMatchObject({ donors, signs: true });
    expect(taskOf('n2', 'second')).toMatchObject({ donors });
    expect(taskOf('n2', 'second')).not.toHaveProperty('signs');
    expect(taskOf('r1', 'second')).toMatchObject({ donors });
    expect(await ask(relay, 'acquire', 'second')).toMatchObject({ reason: 'NothingToPull' });
    expect(await ask(relay, 'certify', 'second')).toMatchObject({ reason: 'NotAllowed' });
    expect(await ask(agent, 'certify', 'second')).toMatchObject({
      outcome: 'certified',
      certificates: [{ pullerKey: puller, extents: [{ first: 0, count: 4 }] }],
    });

    coordinator.remove('first', { deleteFiles: true });
    await clock.advance(1_000);
    expect(taskOf('n1', 'second'), 'it has them no more').not.toHaveProperty('signs');
  });

  it('are pulled again when nothing comes of that', async () => {
    const relay = connect('relay', 'r1');
    const agent = connect('agent', 'n1');
    connect('agent', 'n2');
    applyPlan('first', ['n1']);
    coordinator.primed();
    report(agent, 'first', 'ready');
    applyPlan('second', ['n1', 'n2']);
    await clock.advance(5_000);
    expect(await ask(relay, 'acquire', 'second')).toMatchObject({ reason: 'NothingToPull' });
    await clock.advance(40_000);
    expect(await ask(relay, 'acquire', 'second')).toMatchObject({ outcome: 'granted' });
  });

  it('are nothing to each other in other namespaces whose sources say other things', async () => {
    const relay = connect('relay', 'r1');
    const agent = connect('agent', 'n1');
    applyPlan('first', ['n1']);
    coordinator.primed();
    report(agent, 'first', 'ready');
    const source = { sizeBytes: MIB, validator: { etag: '"v2"' }, ranges: true };
    applyPlan('second', ['n1'], { namespace: 'other', source });
    await clock.advance(5_000);
    expect(taskOf('n1', 'second')).not.toHaveProperty('donors');
    expect(await ask(relay, 'acquire', 'second')).toMatchObject({ outcome: 'granted' });
  });
});

describe('an epoch whose predecessor the database has lost', () => {
  const restored = { isRestored: true } as const;

  it('is not pulled while nodes look for its bytes, and one of those that find them signs', async () => {
    const relay = connect('relay', 'r1');
    const [first, second] = [connect('agent', 'n1'), connect('agent', 'n2')];
    connect('agent', 'n3');
    applyPlan('lost', ['n1', 'n2', 'n3'], restored);
    coordinator.primed();
    await clock.advance(1_000);
    expect(await ask(relay, 'acquire', 'lost')).toMatchObject({ reason: 'NothingToPull' });
    report(first, 'lost', 'ready');
    report(second, 'lost', 'ready');
    await clock.advance(2_000);
    expect(await ask(relay, 'acquire', 'lost')).toMatchObject({ reason: 'NothingToPull' });
    expect(taskOf('n1', 'lost')).toMatchObject({ signs: true });
    expect(await ask(first, 'certify', 'lost')).toMatchObject({ outcome: 'certified' });
  });

  it('is pulled when they find nothing', async () => {
    const relay = connect('relay', 'r1');
    connect('agent', 'n1');
    applyPlan('lost', ['n1'], restored);
    coordinator.primed();
    await clock.advance(25_000);
    expect(await ask(relay, 'acquire', 'lost')).toMatchObject({ reason: 'NothingToPull' });
    await clock.advance(15_000);
    expect(await ask(relay, 'acquire', 'lost')).toMatchObject({ outcome: 'granted' });
  });

  it('is not waited for again when its pull takes longer than everything may be pulled', async () => {
    const relay = connect('relay', 'r1');
    const agent = connect('agent', 'n1');
    applyPlan('lost', ['n1'], restored);
    coordinator.primed();
    await clock.advance(40_000);
    for (let seconds = 0; seconds < 320; seconds += 10) {
      report(agent, 'lost', 'transferring', seconds);
      await clock.advance(10_000);
    }
    expect(await ask(relay, 'acquire', 'lost')).toMatchObject({ outcome: 'granted' });
  });
});
