/** Processes of one release at the control API of another. */
import { randomBytes } from 'node:crypto';
import type { ControlError } from '@sluice/protocol/client/controlError.ts';
import { Agent, request } from 'undici';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { startApiServer, type TestApiServer } from '../testing/adapters/apiServer.ts';
import {
  type ControlOptions,
  type ControlSetup,
  startControl,
} from '../testing/adapters/controlSetup.ts';
import { createAccounts, createPod } from '../testing/adapters/fleetPods.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { issueSession } from './sessions.ts';

const NEVER = new AbortController().signal;
const WAIT = { timeout: 5_000, interval: 20 };
const AGENT = { kind: 'agent', node: 'node-a', address: '127.0.0.3' } as const;

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
afterEach(() => control.stop());

/** An agent that speaks these versions, at a server that speaks those. */
async function agentOf(spoken: readonly number[], options: ControlOptions) {
  control = await startControl(api, database, options);
  const pod = await createPod(api.admin, AGENT);
  return control.process('agent', pod.token, spoken);
}

describe('an agent and an operator', () => {
  it.each([
    { agent: [1], server: [1, 2], agreed: 1 },
    { agent: [1, 2], server: [1], agreed: 1 },
    { agent: [1, 2], server: [1, 2], agreed: 2 },
    { agent: [2, 3], server: [1, 2], agreed: 2 },
  ])('that speak $agent and $server work together in $agreed', async (each) => {
    const { client, work, told } = await agentOf(each.agent, { protocolVersions: each.server });
    control.coordinator.primed();
    work();
    await vi.waitFor(() => expect(told.map(({ type }) => type)).toContain('synced'), WAIT);
    await client.report({ transfers: [] }, NEVER);
    expect(client.protocolVersion).toBe(each.agreed);
    expect(control.coordinator.fleet.connected()).toMatchObject([
      { kind: 'agent', protocolVersion: each.agreed },
    ]);
  });

  it.each([
    { agent: [1], server: [2, 3], remedy: 'upgrade relays and agents' },
    { agent: [2, 3], server: [1], remedy: 'upgrade the operator' },
  ])('that speak $agent and $server say which of them is to be upgraded', async (each) => {
    const { client } = await agentOf(each.agent, { protocolVersions: each.server });
    const refused: ControlError = await client
      .report({ transfers: [] }, NEVER)
      .then(() => expect.fail('it was not refused'))
      .catch((error) => error);
    expect(refused).toMatchObject({ code: 'UnknownVersion', status: 400, transient: false });
    expect(refused.message).toContain(each.remedy);
    expect([...control.coordinator.fleet.list()]).toEqual([]);
  });
});

it('a session that a replica of a newer release gave is bought anew, in what is spoken here', async () => {
  const sessionKey = randomBytes(32);
  const { client } = await agentOf([1, 2], { protocolVersions: [1], sessionKey });
  await client.report({ transfers: [] }, NEVER);
  const [known] = [...control.coordinator.fleet.list()];
  if (known === undefined) throw new Error('no process');
  const { id, kind, node, domain, host, bitTorrentPort, httpPort, pod, podUid } = known;
  const process = { id, kind, node, domain, host, bitTorrentPort, httpPort, pod, podUid };
  const expiresAtMs = Date.now() + 60_000;
  const dispatcher = new Agent({ connect: { ca: control.ca } });
  const statusOf = async (protocolVersion: number) => {
    const token = issueSession({ ...process, protocolVersion, expiresAtMs }, sessionKey);
    const answer = await request(new URL('/v1/reports', control.url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ incarnation: client.incarnation, sequence: 99, transfers: [] }),
      dispatcher,
    });
    await answer.body.dump();
    return answer.statusCode;
  };
  try {
    expect(await statusOf(2)).toBe(401);
    expect(await statusOf(1)).toBe(200);
  } finally {
    await dispatcher.close();
  }
});
