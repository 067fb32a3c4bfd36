/** Nodes' turns, and nodes that leave, as real clients of the control API meet them. */
import { randomUUID } from 'node:crypto';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { TransferReport } from '@sluice/protocol/messages.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { DistributionPlan } from '../controllers/dataSide.ts';
import { rowsIn } from '../store/assignments.ts';
import { startApiServer, type TestApiServer } from '../testing/adapters/apiServer.ts';
import {
  type ControlSetup,
  startControl,
  type TestProcess,
} from '../testing/adapters/controlSetup.ts';
import { createAccounts, createPod } from '../testing/adapters/fleetPods.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { aPlanOf, aRecord } from '../testing/objects.ts';

const NEVER = new AbortController().signal;
const WAIT = { timeout: 10_000, interval: 20 };
const keys = generateFeedKeyPair();

let api: TestApiServer;
let database: TestDatabase;
let control: ControlSetup;
let agents: Map<string, TestProcess>;

beforeAll(async () => {
  [api, database] = await Promise.all([startApiServer(), startTestDatabase()]);
  await createAccounts(api.admin);
});
afterAll(async () => {
  await Promise.all([api?.stop(), database?.stop()]);
});
beforeEach(async () => {
  control = await startControl(api, database);
  agents = new Map();
});
afterEach(() => control.stop());

async function connect(...nodes: readonly string[]): Promise<void> {
  for (const node of nodes) {
    const { token } = await createPod(api.admin, { kind: 'agent', node });
    const process = await control.process('agent', token);
    process.work();
    agents.set(node, process);
    await vi.waitFor(() => expect(process.client.connected).toBe(true), WAIT);
  }
}

function aPlan(uid: string, names: readonly string[], overrides: Partial<DistributionPlan> = {}) {
  const record = aRecord({
    uid,
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
    swarmSecret: Buffer.alloc(32, 1).toString('base64'),
    relayToken: 'relay-token',
  });
  const nodes = names.map((name) => ({ name, domain: 'a', uid: `uid-${name}` }));
  const leaving = { deleteFiles: true, graceMs: 0 };
  return aPlanOf(record, { nodes, leaving, ...overrides });
}

async function report(node: string, uid: string, state: TransferReport['state']): Promise<void> {
  const transfer: TransferReport = {
    uid,
    epoch: 1,
    state,
    verifiedPieces: 0,
    verifiedBytes: 0,
    received: { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
    uploadedBytes: 0,
    rateBytesPerSecond: 0,
  };
  await agents.get(node)?.client.report({ transfers: [transfer] }, NEVER);
}

/** Who works on it, by what was told last. */
function working(uid: string): string[] {
  return [...agents].flatMap(([node, { told }]) => {
    const last = told.findLast(
      (event) =>
        (event.type === 'task' && event.task.uid === uid) ||
        (event.type === 'remove' && event.uid === uid),
    );
    return last?.type === 'task' ? [node] : [];
  });
}

const workingIs = (uid: string, nodes: readonly string[]) =>
  vi.waitFor(() => expect(working(uid)).toEqual(nodes), WAIT);

describe('a distribution with maxParallelNodes', () => {
  it('is told to so many nodes at once, and to the next when one has finished or failed', async () => {
    await connect('n1', 'n2', 'n3', 'n4');
    const uid = randomUUID();
    const names = ['n1', 'n2', 'n3', 'n4'];
    control.coordinator.apply(aPlan(uid, names, { maxParallelNodes: 2 }));
    control.coordinator.primed();
    await workingIs(uid, ['n1', 'n2']);
    await report('n1', uid, 'ready');
    await workingIs(uid, ['n1', 'n2', 'n3']);
    await report('n2', uid, 'failed');
    await workingIs(uid, ['n1', 'n3', 'n4']);
    await report('n3', uid, 'transferring');
    control.coordinator.apply(aPlan(uid, names, { maxParallelNodes: 1 }));
    await workingIs(uid, ['n1', 'n3']);
    control.coordinator.apply(aPlan(uid, names));
    await workingIs(uid, names);
  });

  it('goes on with the same nodes under the next leader', async () => {
    const uid = randomUUID();
    const received = { fromPeers: 10, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
    const progress = {
      state: 'transferring',
      verifiedBytes: 10,
      rateBytesPerSecond: 0,
      received,
    } as const;
    const row = { uid, epoch: 1, node: 'n2', nodeUid: 'uid-n2', progress };
    await control.assignments.save({ uid, number: 0, rows: [row] });
    await connect('n1');
    control.coordinator.apply(aPlan(uid, ['n1', 'n2'], { maxParallelNodes: 1 }));
    control.coordinator.primed();
    await connect('n2');
    await workingIs(uid, ['n2']);
  });
});

describe('a node that is no target any more', () => {
  const rows = async (uid: string) =>
    rowsIn(await control.assignments.load(uid))
      .map(({ node }) => node)
      .sort();

  async function deliver(uid: string): Promise<void> {
    await connect('n1', 'n2');
    control.coordinator.apply(aPlan(uid, ['n1', 'n2']));
    control.coordinator.primed();
    await workingIs(uid, ['n1', 'n2']);
    await report('n1', uid, 'ready');
    await report('n2', uid, 'ready');
    await vi.waitFor(async () => expect(await rows(uid)).toEqual(['n1', 'n2']), WAIT);
  }

  const removals = (node: string, uid: string) =>
    agents.get(node)?.told.filter((event) => event.type === 'remove' && event.uid === uid);

  it('deletes its files, and is forgotten when it has', async () => {
    const uid = randomUUID();
    await deliver(uid);
    control.coordinator.apply(aPlan(uid, ['n1']));
    await vi.waitFor(
      () => expect(removals('n2', uid)).toEqual([{ type: 'remove', uid, deleteFiles: true }]),
      WAIT,
    );
    expect(await rows(uid)).toEqual(['n1', 'n2']);
    await report('n2', uid, 'removed');
    await vi.waitFor(async () => expect(await rows(uid)).toEqual(['n1']), WAIT);
  });

  it('keeps them where they are retained', async () => {
    const uid = randomUUID();
    await deliver(uid);
    control.coordinator.apply(aPlan(uid, ['n1'], { leaving: { deleteFiles: false, graceMs: 0 } }));
    await vi.waitFor(async () => expect(await rows(uid)).toEqual(['n1']), WAIT);
    await vi.waitFor(
      () =>
        expect(removals('n2', uid)).toEqual([
          { type: 'remove', uid, epoch: 1, deleteFiles: false },
        ]),
      WAIT,
    );
  });

  it('is forgotten at once when it is no node any more', async () => {
    const uid = randomUUID();
    await deliver(uid);
    await agents.get('n2')?.end();
    control.coordinator.apply(aPlan(uid, ['n1']));
    control.coordinator.setNodes(new Set(['n1']));
    await vi.waitFor(async () => expect(await rows(uid)).toEqual(['n1']), WAIT);
  });

  it('and comes back installed anew is served anew', async () => {
    const uid = randomUUID();
    await deliver(uid);
    await agents.get('n2')?.end();
    const nodes = [
      { name: 'n1', domain: 'a', uid: 'uid-n1' },
      { name: 'n2', domain: 'a', uid: 'uid-new' },
    ];
    await vi.waitFor(() => {
      control.coordinator.apply(aPlan(uid, [], { nodes }));
      expect(control.coordinator.progress(uid)?.nodes).toMatchObject([
        { name: 'n1', state: 'ready' },
        { name: 'n2', state: 'pending', connected: false },
      ]);
    }, WAIT);
    await vi.waitFor(async () => expect(await rows(uid)).toEqual(['n1']), WAIT);
    await connect('n2');
    await workingIs(uid, ['n1', 'n2']);
  });

  it('and comes back installed anew has nothing, while its machine of before seems to be there', async () => {
    const uid = randomUUID();
    const node = `gone-${uid}`;
    const before = await api.addNode(node);
    await connect(node);
    const target = (of: string) => ({ nodes: [{ name: node, domain: 'a', uid: of }] });
    control.coordinator.apply(aPlan(uid, [], target(before.metadata.uid)));
    control.coordinator.primed();
    await workingIs(uid, [node]);
    await report(node, uid, 'ready');
    const now = () => control.coordinator.progress(uid)?.nodes[0];
    await vi.waitFor(() => expect(now()?.state).toBe('ready'), WAIT);
    control.coordinator.apply(aPlan(uid, []));
    control.coordinator.setNodes(new Set());
    control.coordinator.apply(aPlan(uid, [], target('uid-new')));
    expect(now()).toMatchObject({ state: 'pending', connected: false });
    // One that does live, and whose node was only registered anew, says it again when it is back.
    await vi.waitFor(() => report(node, uid, 'ready'), WAIT);
    await vi.waitFor(() => expect(now()?.state).toBe('ready'), WAIT);
  });
});
