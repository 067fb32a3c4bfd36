import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { ControlError } from '@sluice/protocol/client/controlError.ts';
import type { ProcessKind } from '@sluice/protocol/messages.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { objectPath, resources } from '../kube/paths.ts';
import { rowsIn } from '../store/assignments.ts';
import {
  OPERATOR_NAMESPACE,
  startApiServer,
  type TestApiServer,
} from '../testing/adapters/apiServer.ts';
import { type ControlSetup, startControl } from '../testing/adapters/controlSetup.ts';
import { createAccounts, createPod, type FleetPodOptions } from '../testing/adapters/fleetPods.ts';
import {
  AGENT,
  aPlan,
  aTransfer,
  RELAY,
  startProcess,
  toldOf,
} from '../testing/adapters/fleetProcess.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';

const NEVER = new AbortController().signal;
const WAIT = { timeout: 5_000, interval: 20 };

let api: TestApiServer;
let database: TestDatabase;
let control: ControlSetup;

beforeAll(async () => {
  [api, database] = await Promise.all([startApiServer(), startTestDatabase()]);
  await createAccounts(api.admin);
});
afterAll(async () => {
  await Promise.all([api?.stop(), database?.stop()]);
});
beforeEach(async () => {
  control = await startControl(api, database);
});
afterEach(() => control.stop());

async function connect(options: FleetPodOptions) {
  const process = await startProcess(api, control, options);
  await vi.waitFor(() => expect(process.client.connected).toBe(true), WAIT);
  return process;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error) => (error instanceof ControlError ? error.code : String(error)),
  );
}

async function codeOfSession(kind: ProcessKind, token: string): Promise<string> {
  const { client } = await control.process(kind, token);
  return codeOf(client.report({ transfers: [] }, NEVER));
}

describe('a session', () => {
  it('is given to a pod of the fleet, which is where its token says', async () => {
    await connect(AGENT);
    await connect(RELAY);
    const known = [...control.coordinator.fleet.list()].map(({ kind, node, domain, host }) => ({
      kind,
      node,
      domain,
      host,
    }));
    expect(known).toEqual([
      { kind: 'agent', node: 'node-a', domain: undefined, host: '127.0.0.3' },
      { kind: 'relay', node: 'node-r', domain: 'zone-a', host: '127.0.0.2' },
    ]);
  });

  it('is not given to anybody else', async () => {
    const agent = await createPod(api.admin, AGENT);
    expect(await codeOfSession('relay', agent.token)).toBe('Unauthenticated');
    const elsewhere = await createPod(api.admin, { ...AGENT, audience: 'vault' });
    expect(await codeOfSession('agent', elsewhere.token)).toBe('Unauthenticated');
    const byHand = await createPod(api.admin, { ...RELAY, owner: undefined });
    expect(await codeOfSession('relay', byHand.token)).toBe('Refused');
    expect(await codeOfSession('agent', 'made-up')).toBe('Unauthenticated');
    expect([...control.coordinator.fleet.list()]).toEqual([]);
  });

  it('waits for the address of a pod that is faster than its kubelet', async () => {
    const pod = await createPod(api.admin, { ...AGENT, address: undefined });
    const { client } = await control.process('agent', pod.token);
    const answer = client.report({ transfers: [] }, NEVER);
    const path = `${objectPath(resources.pods, { namespace: OPERATOR_NAMESPACE, name: pod.name })}/status`;
    const body = { status: { podIP: '127.0.0.9', podIPs: [{ ip: '127.0.0.9' }] } };
    const contentType = 'application/merge-patch+json';
    setTimeout(() => api.admin.request({ method: 'PATCH', path, contentType, body }), 500);
    expect((await answer).reportIntervalMs).toBeGreaterThanOrEqual(1_000);
    expect([...control.coordinator.fleet.list()].map(({ host }) => host)).toEqual(['127.0.0.9']);
  });
});

describe('work', () => {
  it('is what each kind needs to know, and everything of it before `synced`', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    control.coordinator.apply(plan);
    const relay = await connect(RELAY);
    const agent = await connect(AGENT);
    const bystander = await connect({ ...AGENT, node: 'node-b', address: '127.0.0.4' });
    await vi.waitFor(() => expect(toldOf(agent, 'peers')).not.toEqual([]), WAIT);
    expect(toldOf(agent, 'synced')).toEqual([]);
    control.coordinator.primed();
    for (const process of [relay, agent, bystander]) {
      await vi.waitFor(() => expect(toldOf(process, 'synced')).toHaveLength(1), WAIT);
    }
    const [toRelay] = toldOf(relay, 'task');
    expect(toRelay?.task.source?.headers).toEqual({ authorization: 'Bearer of-the-origin' });
    expect(toRelay?.task.target).toBeUndefined();
    const [toAgent] = toldOf(agent, 'task');
    expect(toAgent?.task).toMatchObject({ uid, target: { path: 'llama' } });
    expect(toAgent?.task.source).toBeUndefined();
    expect(
      toldOf(relay, 'peers')
        .at(-1)
        ?.peers.map(({ host }) => host),
    ).toEqual(['127.0.0.3']);
    expect(toldOf(agent, 'peers').at(-1)?.peers).toMatchObject([
      { role: 'relay', host: '127.0.0.2', port: 6881, httpPort: 8081 },
    ]);
    expect(toldOf(bystander, 'task')).toEqual([]);
  });

  it('is taken back when it is suspended, and given again; files stay', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    control.coordinator.apply(plan);
    control.coordinator.primed();
    const agent = await connect(AGENT);
    await vi.waitFor(() => expect(toldOf(agent, 'task')).toHaveLength(1), WAIT);
    control.coordinator.apply({ ...plan, suspend: true });
    await vi.waitFor(
      () =>
        expect(toldOf(agent, 'remove')).toEqual([
          { type: 'remove', uid, epoch: 1, deleteFiles: false },
        ]),
      WAIT,
    );
    control.coordinator.apply(plan);
    await vi.waitFor(() => expect(toldOf(agent, 'task')).toHaveLength(2), WAIT);
  });

  it('comes whole, however much is said in one turn of the event loop', async () => {
    const agent = await connect(AGENT);
    const [process] = control.coordinator.fleet.connected();
    if (process?.stream === undefined) throw new Error('no stream');
    // Twenty megabytes, while nobody can read.
    const peers = Array.from({ length: 256 }, (_, at) => ({
      id: `${'x'.repeat(100)}${at}`,
      role: 'agent' as const,
      host: '127.0.0.1',
      port: 1,
    }));
    for (let sent = 0; sent < 500; sent += 1) {
      process.stream.send({ type: 'peers', uid: `uid-${sent}`, epoch: 1, peers });
    }
    const slowly = { timeout: 30_000, interval: 100 };
    await vi.waitFor(() => expect(toldOf(agent, 'peers')).toHaveLength(500), slowly);
    expect(agent.problems).toEqual([]);
  });
});

describe('reports', () => {
  it('become progress, and rows that the next leader begins with', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    const { coordinator, assignments } = control;
    coordinator.apply(plan);
    coordinator.primed();
    const agent = await connect(AGENT);
    const received = { fromPeers: 600, fromRelays: 400, fromRelayHttp: 0, fromOrigin: 0 };
    const transfer = aTransfer(uid, { state: 'ready', verifiedBytes: 1000, received });
    await agent.client.report({ transfers: [transfer] }, NEVER);
    const ready = { name: 'node-a', state: 'ready', verifiedBytes: 1000, received };
    expect(coordinator.progress(uid)?.nodes).toMatchObject([{ ...ready, connected: true }]);
    await vi.waitFor(async () => expect(rowsIn(await assignments.load(uid))).toHaveLength(1), WAIT);
    await control.stop();
    control = await startControl(api, database);
    control.coordinator.apply(plan);
    await vi.waitFor(
      () =>
        expect(control.coordinator.progress(uid)?.nodes).toMatchObject([
          { ...ready, connected: false },
        ]),
      WAIT,
    );
  });

  it('that were overtaken by newer ones change nothing', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    control.coordinator.apply(plan);
    const agent = await connect(AGENT);
    await agent.client.report({ transfers: [aTransfer(uid, { verifiedBytes: 10 })] }, NEVER);
    const [process] = control.coordinator.fleet.connected();
    if (process === undefined) throw new Error('no process');
    const { incarnation } = agent.client;
    const report = (sequence: number, verifiedBytes: number) =>
      control.coordinator.fleet.report(
        process,
        { incarnation, sequence, transfers: [aTransfer(uid, { verifiedBytes })] },
        0,
      );
    report(9, 30);
    report(8, 20);
    expect(control.coordinator.progress(uid)?.nodes[0]?.verifiedBytes).toBe(30);
  });

  it('of a source that has changed are passed on', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    control.coordinator.apply(plan);
    const relay = await connect(RELAY);
    expect(control.coordinator.progress(uid)?.sourceChanged).toBe(false);
    const error = { reason: 'SourceChanged', message: 'another ETag' };
    await relay.client.report({ transfers: [aTransfer(uid, { error })] }, NEVER);
    expect(control.coordinator.progress(uid)?.sourceChanged).toBe(true);
  });
});

describe('leases', () => {
  it('are granted to a relay over the wire, the same for the same request', async () => {
    const plan = aPlan();
    const { uid } = plan.record;
    control.coordinator.apply(plan);
    const relay = await connect(RELAY);
    const puller = generateFeedKeyPair();
    const ask = {
      op: 'acquire',
      uid,
      epoch: 1,
      wantRateBytesPerSecond: 1_000_000,
      wantConnections: 1,
      pullerKey: puller.publicKey.toString('base64'),
    } as const;
    await vi.waitFor(async () => {
      const { answer } = await relay.client.lease(ask, 2_000, NEVER);
      expect(answer).toMatchObject({
        outcome: 'granted',
        grant: { uid, extents: [{ first: 0, count: 1 }] },
      });
    }, WAIT);
  });

  it('are refused to a process that has no part in the distribution', async () => {
    const plan = aPlan();
    control.coordinator.apply(plan);
    const agent = await connect({ ...AGENT, node: 'node-b', address: '127.0.0.5' });
    const ask = {
      op: 'acquire',
      uid: plan.record.uid,
      epoch: 1,
      wantRateBytesPerSecond: 1_000_000,
      wantConnections: 1,
      pullerKey: generateFeedKeyPair().publicKey.toString('base64'),
    } as const;
    await expect(agent.client.lease(ask, 2_000, NEVER)).rejects.toMatchObject({
      apiCode: 'NotAMember',
    });
    // One that a new leader does not know yet may have a part in what it asks for.
    const { answer } = await agent.client.lease({ ...ask, uid: 'any' }, 2_000, NEVER);
    expect(answer).toMatchObject({ outcome: 'wait', reason: 'NotReady' });
  });
});

describe('requests', () => {
  async function post(path: string, body: string, headers: Record<string, string> = {}) {
    const { Agent, request } = await import('undici');
    const dispatcher = new Agent({ connect: { ca: control.ca } });
    try {
      const answer = await request(new URL(path, control.url), {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body,
        dispatcher,
      });
      const text = await answer.body.text();
      const { location } = answer.headers;
      return { status: answer.statusCode, location, ...(JSON.parse(text || '{}') as object) };
    } finally {
      await dispatcher.close();
    }
  }

  it('of nobody are refused before their bodies are read', async () => {
    const body = '['.repeat(8 * 1024 * 1024);
    expect(await post('/v1/reports', body)).toMatchObject({ status: 401, code: 'Unauthenticated' });
    const forged = { authorization: 'Bearer eyJpZCI6IngifQ.AAAA' };
    expect(await post('/v1/leases', body, forged)).toMatchObject({
      status: 401,
      code: 'Unauthenticated',
    });
  });

  it('that make no sense are answered by what is wrong with them', async () => {
    const token = { authorization: 'Bearer token' };
    expect(await post('/v1/session', '{', token)).toMatchObject({
      status: 400,
      code: 'InvalidBody',
    });
    const large = JSON.stringify({ text: 'x'.repeat(20_000) });
    expect(await post('/v1/session', large, token)).toMatchObject({
      status: 413,
      code: 'InvalidBody',
    });
    const strange = JSON.stringify({ protocolVersions: [1], kind: 'cuckoo' });
    expect(await post('/v1/session', strange, token)).toMatchObject({
      status: 400,
      code: 'InvalidMessage',
    });
    expect(await post('/v1/nothing', '{}', token)).toMatchObject({ status: 404, code: 'NotFound' });
  });

  it('for a work stream are held while nobody leads, and served where somebody begins to', async () => {
    const pod = await createPod(api.admin, AGENT);
    const { client, problems, work } = await control.process('agent', pod.token);
    await client.report({ transfers: [] }, NEVER);
    control.election.isLeader = false;
    work();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(client.connected).toBe(false);
    control.election.isLeader = true;
    await vi.waitFor(() => expect(client.connected).toBe(true), WAIT);
    expect(problems).toEqual([]);
  });

  it('to a standby go to the leader, or wait for one', async () => {
    control.election.isLeader = false;
    expect(await post('/v1/session', '{}')).toMatchObject({ status: 503, code: 'NotLeading' });
    control.election.leaderUrl = 'https://10.1.2.3:8443';
    expect(await post('/v1/session', '{}')).toMatchObject({
      status: 307,
      location: 'https://10.1.2.3:8443/v1/session',
    });
  });
});
