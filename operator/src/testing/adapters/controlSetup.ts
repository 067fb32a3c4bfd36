/** The control API as a test needs it: real HTTPS, API server and database, and processes that call. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { ControlClient, type WorkEvent } from '@sluice/protocol/client/controlClient.ts';
import type { ProcessKind } from '@sluice/protocol/messages.ts';
import { createLogger } from 'winston';
import { MongoJournalStore } from '../../quota/journalStore.ts';
import { newApp, SERVER_OPTIONS } from '../../server/app.ts';
import { Callers } from '../../server/callers.ts';
import { makeAuthority, makeServerCertificate } from '../../server/certificates.ts';
import { Coordinator } from '../../server/coordinator.ts';
import { MongoAssignmentStore } from '../../store/assignments.ts';
import { MongoEpochStore } from '../../store/epochs.ts';
import { OPERATOR_NAMESPACE, type TestApiServer } from './apiServer.ts';
import { systemLeases } from './systemLeases.ts';
import type { TestDatabase } from './testDatabase.ts';

export interface ControlSetup {
  readonly coordinator: Coordinator;
  readonly assignments: MongoAssignmentStore;
  readonly url: URL;
  readonly ca: string;
  /** Whether this replica leads; where the leader serves. */
  readonly election: { isLeader: boolean; leaderUrl: string | undefined };
  /** A process with this token. */
  process(
    kind: ProcessKind,
    token: string,
    protocolVersions?: readonly number[],
  ): Promise<TestProcess>;
  stop(): Promise<void>;
}

export interface ControlOptions {
  /** Absent: those of this release. */
  readonly protocolVersions?: readonly number[];
  /** What replicas share; absent: one of its own. */
  readonly sessionKey?: Buffer;
}

export interface TestProcess {
  readonly client: ControlClient;
  /** What it has been told, since its newest stream opened. */
  readonly told: readonly WorkEvent[];
  readonly problems: readonly Error[];
  /** Opens the work stream and keeps it open. */
  work(): void;
  /** Ends without a word. */
  end(): Promise<void>;
}

export async function startControl(
  api: TestApiServer,
  { database }: TestDatabase,
  { protocolVersions, sessionKey = randomBytes(32) }: ControlOptions = {},
): Promise<ControlSetup> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'sluice-control-'));
  const logger = createLogger({ silent: true });
  const clock = systemClock;
  const store = new MongoJournalStore(database);
  const assignments = new MongoAssignmentStore(database);
  await Promise.all([store.prepare(), assignments.prepare()]);
  const leases = systemLeases(
    {
      defaultLimits: { maxConnections: 8, maxBandwidthBytesPerSecond: 50_000_000 },
      requireOrigin: false,
    },
    store,
  );
  const coordinator = new Coordinator({
    leases,
    assignments,
    revocations: new MongoEpochStore(database),
    clock,
    wallClock: Date.now,
    logger,
  });
  const election = { isLeader: true, leaderUrl: undefined as string | undefined };
  const app = newApp({
    coordinator,
    leases,
    callers: new Callers({ namespace: OPERATOR_NAMESPACE }, { client: api.operator, clock }),
    client: api.operator,
    logger,
    sessionKey: () => sessionKey,
    ...(protocolVersions !== undefined && { protocolVersions }),
    isLeader: () => election.isLeader,
    leaderUrl: () => election.leaderUrl,
    nextLeaderUrl: () => undefined,
    leaderAnswers: () => true,
    renewalSeenMs: () => undefined,
    clock,
    wallClock: () => Date.now(),
  });
  const authority = await makeAuthority(Date.now());
  const { key, certificate } = await makeServerCertificate(['localhost'], authority, Date.now());
  const server = createServer({ key, cert: certificate, ...SERVER_OPTIONS }, app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(`https://localhost:${(server.address() as AddressInfo).port}`);
  const caFile = path.join(folder, 'ca.crt');
  await writeFile(caFile, authority.certificate);
  leases.lead(1);
  coordinator.start();
  coordinator.setOrigins([]);
  const processes: TestProcess[] = [];
  return {
    coordinator,
    assignments,
    url,
    ca: authority.certificate,
    election,
    process: async (kind, token, spoken) => {
      const tokenFile = path.join(folder, `token-${processes.length}`);
      await writeFile(tokenFile, token);
      const speaks = spoken !== undefined && { protocolVersions: spoken };
      const made = newProcess({ controlUrl: url, caFile, tokenFile, kind, ...speaks });
      processes.push(made);
      return made;
    },
    stop: async () => {
      await Promise.all(processes.map((each) => each.end()));
      coordinator.stop();
      leases.stepDown();
      await close(server);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function newProcess(
  options: Pick<
    ConstructorParameters<typeof ControlClient>[0],
    'controlUrl' | 'caFile' | 'tokenFile' | 'kind' | 'protocolVersions'
  >,
): TestProcess {
  const problems: Error[] = [];
  const ports = { bitTorrentPort: 6881, ...(options.kind === 'relay' && { httpPort: 8081 }) };
  const client = new ControlClient(
    { ...options, ...ports },
    { clock: systemClock, onProblem: (error) => problems.push(error) },
  );
  const abort = new AbortController();
  const told: WorkEvent[] = [];
  let listening = Promise.resolve();
  const listen = async () => {
    for await (const event of client.work(abort.signal)) {
      if (event.type === 'opened') told.length = 0;
      told.push(event);
    }
  };
  return {
    client,
    told,
    problems,
    work: () => {
      listening = listen();
    },
    end: async () => {
      abort.abort();
      await listening;
      client.close();
    },
  };
}

async function close(server: Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeAllConnections();
  await closed;
}
