import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { TransferReport, WorkMessage } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DistributionPlan } from '../controllers/dataSide.ts';
import type { LeaseService } from '../quota/leaseService.ts';
import { type FakeClock, settle } from '../testing/fakeClock.ts';
import { aPlanOf, aRecord, aTransferReport } from '../testing/objects.ts';
import { TestCoordinator } from '../testing/testCoordinator.ts';
import type { Coordinator } from './coordinator.ts';
import type { FleetProcess } from './fleetView.ts';

const UID = 'uid-1';
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

const TOPS_UP = { topUp: ['Origin'], transport: 'Hybrid' } as const;

function applyPlan(
  headers: Readonly<Record<string, string>> = {},
  more: Partial<DistributionPlan> = {},
): void {
  const record = aRecord({
    uid: UID,
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
  });
  const nodes = ['n1', 'n2'].map((name) => ({ name, domain: 'a' }));
  coordinator.apply(aPlanOf(record, { nodes, headers, ...more }));
  coordinator.primed();
}

function pulls(node: string): boolean {
  const last = told.get(node)?.findLast((message) => message.type === 'task');
  return last?.task.pulls === true && last.task.source !== undefined;
}

async function ask(process: FleetProcess, overrides: object): Promise<LeaseAnswer> {
  const { id, kind } = process;
  const standsIn = coordinator.standsIn(process, UID);
  const request = { incarnation: 'incarnation', sequence: clock.now(), ...overrides };
  const answer = leases.answer({ id, kind, standsIn }, request as LeaseRequest);
  await settle();
  return answer;
}

function acquire(process: FleetProcess): Promise<LeaseAnswer> {
  const want = { pullerKey: puller, wantConnections: 1, wantRateBytesPerSecond: 1_000_000 };
  return ask(process, { op: 'acquire', uid: UID, epoch: 1, ...want });
}

async function lease(process: FleetProcess): Promise<string> {
  const said = await acquire(process);
  return said.outcome === 'wait' ? `wait: ${said.reason}` : said.outcome;
}

function report(process: FleetProcess, overrides: Partial<TransferReport> = {}): void {
  const sequence = process.reportSequence + 1;
  const transfer = aTransferReport({ uid: UID, ...overrides });
  const said = { incarnation: 'incarnation', sequence, transfers: [transfer] };
  coordinator.fleet.report(process, said, clock.now());
}

/** Of the only piece. */
const HELD = Buffer.from([128]).toString('base64');

/** Its stream breaks, and nothing is heard of it any more. */
function vanish(process: FleetProcess): void {
  if (process.stream !== undefined) coordinator.fleet.closed(process, process.stream, clock.now());
}

describe('without a relay for 30 seconds', () => {
  it('an agent pulls, with a lease, until a relay is there', async () => {
    const agent = connect('agent', 'n1');
    connect('agent', 'n2');
    applyPlan();
    await clock.advance(29_000);
    expect([pulls('n1'), pulls('n2')]).toEqual([false, false]);
    expect(await lease(agent)).toBe('wait: NotAllowed');
    await clock.advance(7_000);
    expect([pulls('n1'), pulls('n2')]).toEqual([true, false]);
    expect(await lease(agent)).toBe('granted');
    connect('relay', 'r1');
    await clock.advance(1_000);
    expect(pulls('n1')).toBe(false);
    expect(coordinator.standsIn(agent, UID)).toBe(false);
  });

  it('that has room for the file an agent pulls, too, until one has', async () => {
    const error = { reason: 'DiskPressure', message: 'because' };
    const agent = connect('agent', 'n1');
    const relay = connect('relay', 'r1');
    const other = connect('relay', 'r2', 'b');
    const nodes = [
      { name: 'n1', domain: 'a' },
      { name: 'n2', domain: 'b' },
    ];
    applyPlan({}, { nodes });
    report(relay, { state: 'failed', error });
    await clock.advance(35_000);
    expect(pulls('n1'), 'the other relay works').toBe(false);
    expect(coordinator.progress(UID)?.failedRelays).toEqual([{ domain: 'a', ...error }]);
    report(other, { state: 'failed', error });
    await clock.advance(29_000);
    expect(pulls('n1')).toBe(false);
    await clock.advance(7_000);
    expect(pulls('n1')).toBe(true);
    expect(coordinator.standsIn(relay, UID)).toBe(false);
    expect(await lease(agent)).toBe('granted');
    report(relay, { state: 'transferring' });
    await clock.advance(1_000);
    expect(pulls('n1')).toBe(false);
    expect(coordinator.progress(UID)?.failedRelays).toEqual([{ domain: 'b', ...error }]);
    vanish(other);
    expect(coordinator.progress(UID)?.failedRelays).toEqual([]);
  });

  it('no agent is given credentials that only relays may have', async () => {
    connect('agent', 'n1');
    applyPlan({ authorization: 'Bearer secret' });
    await clock.advance(60_000);
    expect(pulls('n1')).toBe(false);
    expect(JSON.stringify(told.get('n1'))).not.toContain('secret');
  });
});

describe('what an agent that pulled had alone is pulled again when it is gone', () => {
  it.each<[string, (agent: FleetProcess) => Promise<void>]>([
    [
      'though it says nothing of it any more since relays are there',
      async (agent) => {
        report(agent, { bitfield: HELD });
        connect('relay', 'r0');
        await clock.advance(1_000);
        report(agent, { state: 'ready' });
      },
    ],
    [
      'though it had not said so before it was gone',
      async (agent) => {
        const said = await acquire(agent);
        if (said.outcome !== 'granted') throw new Error(said.outcome);
        const { leaseId, version } = said.grant;
        await clock.advance(1);
        const end = { op: 'settle', leaseId, version, usedBytes: 1_000, unfinished: [] };
        expect(await ask(agent, end)).toEqual({ outcome: 'settled' });
      },
    ],
  ])('%s', async (_how, pulled) => {
    const agent = connect('agent', 'n1');
    connect('agent', 'n2');
    applyPlan();
    await clock.advance(36_000);
    await pulled(agent);
    const relay = connect('relay', 'r1');
    await clock.advance(1_000);
    expect(await lease(relay)).toBe('wait: NothingToPull');
    vanish(agent);
    await clock.advance(25_000);
    expect(await lease(relay)).toBe('granted');
  });
});

const CHANGED = { error: { reason: 'SourceChanged', message: 'another ETag' } };

describe('the word of an agent that was not asked to pull', () => {
  it('of what it holds keeps nobody from pulling', async () => {
    const agent = connect('agent', 'n1');
    const relay = connect('relay', 'r1');
    applyPlan();
    await clock.advance(1_000);
    report(agent, { bitfield: HELD });
    expect(await lease(relay)).toBe('granted');
  });

  it('of what it holds counts when it is asked', async () => {
    const agent = connect('agent', 'n1');
    applyPlan();
    // As it comes from an earlier leader, for which it pulled.
    report(agent, { bitfield: HELD });
    await clock.advance(36_000);
    const relay = connect('relay', 'r1');
    await clock.advance(1_000);
    expect(await lease(relay)).toBe('wait: NothingToPull');
  });

  it('of what it holds counts when it was asked a moment ago', async () => {
    const agent = connect('agent', 'n1');
    applyPlan();
    await clock.advance(36_000);
    const relay = connect('relay', 'r1');
    await clock.advance(1_000);
    expect(coordinator.standsIn(agent, UID)).toBe(false);
    report(agent, { bitfield: HELD });
    expect(await lease(relay)).toBe('wait: NothingToPull');
  });

  it('that its source has changed is not believed: it has none', async () => {
    const agent = connect('agent', 'n1');
    const stranger = connect('relay', 'r9', 'b');
    const relay = connect('relay', 'r1');
    applyPlan();
    await clock.advance(1_000);
    report(agent, CHANGED);
    report(stranger, CHANGED);
    expect(coordinator.progress(UID)?.sourceChanged).toBe(false);
    report(relay, CHANGED);
    expect(coordinator.progress(UID)?.sourceChanged).toBe(true);
  });

  it.each<[string, Partial<DistributionPlan>, number]>([
    ['that tops up from the source', { delivery: TOPS_UP }, 1_000],
    ['that pulls in the place of a relay', {}, 36_000],
  ])('%s is believed', async (_who, plan, ms) => {
    const agent = connect('agent', 'n1');
    const bystander = connect('agent', 'n9');
    applyPlan({}, plan);
    await clock.advance(ms);
    report(bystander, CHANGED);
    expect(coordinator.progress(UID)?.sourceChanged).toBe(false);
    report(agent, CHANGED);
    expect(coordinator.progress(UID)?.sourceChanged).toBe(true);
  });

  it('of epochs that there are not is forgotten', async () => {
    const agent = connect('agent', 'n1');
    applyPlan();
    for (let epoch = 1; epoch <= 100; epoch += 1) report(agent, { epoch });
    await clock.advance(6_000);
    expect([...agent.reports.all()]).toMatchObject([{ uid: UID, epoch: 1 }]);
  });

  it('of more than there can be is not kept', () => {
    const agent = connect('agent', 'n1');
    for (let epoch = 1; epoch <= 10_010; epoch += 1) report(agent, { epoch });
    report(agent, { epoch: 10_000, state: 'ready' });
    expect(agent.reports.count).toBe(10_000);
    expect(agent.reports.get(UID, 10_000)?.state).toBe('ready');
  });
});
