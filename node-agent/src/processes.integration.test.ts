/**
 * A real relay process and two real agent processes against a control server that grants leases
 * from a simple table, over real TLS, and an HTTP origin, all on loopback.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import { makeCertificates } from '@sluice/protocol/client/testing/certificates.ts';
import {
  FakeControlServer,
  type FakeSession,
} from '@sluice/protocol/client/testing/fakeControlServer.ts';
import type { Peer, Task, TransferReport, WorkMessage } from '@sluice/protocol/messages.ts';
import { afterAll, beforeAll, describe, expect, it, onTestFailed, vi } from 'vitest';
import { type Distribution, LeaseTable } from './testing/leaseTable.ts';
import { TestOrigin } from './testing/testOrigin.ts';

/** Refuses connections. */
const CLOSED_PORT = 1;
const MIB = 1024 * 1024;
const PIECE = 262_144;
const REPOSITORY = path.resolve(import.meta.dirname, '../..');
const NODE = path.join(REPOSITORY, 'node_modules/.bin/node');

interface Program {
  readonly name: string;
  readonly kind: 'relay' | 'agent';
  readonly folder: string;
  readonly bitTorrentPort: number;
  readonly httpPort: number;
  readonly healthPort: number;
  child?: ChildProcess;
}

let folder: string;
let caFile: string;
let control: FakeControlServer;
let controlUrl: URL;
const origin = new TestOrigin();
const programs: Program[] = [];
const table = new LeaseTable(PIECE);
const { distributions, leases, settled } = table;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-processes-'));
  const certificates = await makeCertificates(folder);
  caFile = certificates.caFile;
  await origin.start();
  control = new FakeControlServer(
    { ...certificates, reportIntervalMs: 100 },
    { work: workOf, lease: (request) => table.answer(request) },
  );
  controlUrl = await control.start();
  for (const [name, kind] of [
    ['relay', 'relay'],
    ['one', 'agent'],
    ['two', 'agent'],
  ] as const) {
    const program = {
      name,
      kind,
      folder: path.join(folder, name),
      bitTorrentPort: await freePort(),
      httpPort: await freePort(),
      healthPort: await freePort(),
    };
    await mkdir(program.folder);
    await writeFile(path.join(folder, `${name}.token`), name);
    programs.push(program);
    launch(program);
  }
  await vi.waitFor(() => expect(control.streams).toBe(3), { timeout: 15_000 });
});

afterAll(async () => {
  for (const { child } of programs) child?.kill('SIGKILL');
  await control.stop();
  await origin.stop();
  await rm(folder, { recursive: true, force: true });
});

function launch(program: Program): void {
  const { name, kind } = program;
  const main = kind === 'relay' ? 'relay-image/src/main.ts' : 'node-agent/src/main.ts';
  const child = spawn(NODE, [main], {
    cwd: REPOSITORY,
    env: {
      PATH: process.env.PATH,
      SLUICE_CONTROL_URL: controlUrl.href,
      SLUICE_CA_FILE: caFile,
      SLUICE_TOKEN_FILE: path.join(folder, `${name}.token`),
      SLUICE_ROOT: program.folder,
      SLUICE_CACHE: program.folder,
      SLUICE_BITTORRENT_PORT: String(program.bitTorrentPort),
      SLUICE_HTTP_PORT: String(program.httpPort),
      SLUICE_HEALTH_PORT: String(program.healthPort),
      SLUICE_MIN_FREE_PERCENT: '0',
      SLUICE_LOG_LEVEL: 'debug',
    },
  });
  const log = createWriteStream(path.join(folder, `${name}.log`), { flags: 'a' });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  program.child = child;
}

async function kill(name: string, signal: NodeJS.Signals): Promise<number | null> {
  const { child } = programOf(name);
  if (child === undefined) throw new Error(`${name} does not run`);
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill(signal);
  return ended;
}

function programOf(name: string): Program {
  const program = programs.find((each) => each.name === name);
  if (program === undefined) throw new Error(`no program ${name}`);
  return program;
}

/** A new distribution that relay and agents do not know yet. */
function distribute(
  uid: string,
  sizeBytes: number,
  change: {
    rate?: number;
    extentPieces?: number;
    sha256?: string;
    withoutFile?: boolean;
    delivery?: Task['delivery'];
    /** Nobody can be reached over BitTorrent. */
    blocked?: boolean;
  } = {},
): Distribution {
  const body = randomBytes(sizeBytes);
  if (change.withoutFile !== true) origin.files.set(`/${uid}.bin`, body);
  const sha256 = change.sha256 ?? sha256Of(body);
  const files = [{ path: `${uid}.bin`, sizeBytes, sha256 }];
  const layout = layoutOf(files, PIECE);
  const keys = generateFeedKeyPair();
  const owner = { uid, epoch: 1, feedKey: keys.publicKey };
  const task: Task = {
    uid,
    namespace: 'team',
    name: uid,
    epoch: 1,
    swarmId: swarmIdOf(layout, owner).toString('hex'),
    pieceLengthBytes: PIECE,
    files,
    feedKey: keys.publicKey.toString('base64'),
    swarmSecret: randomBytes(32).toString('base64'),
    relayToken: randomBytes(16).toString('hex'),
    delivery: change.delivery ?? { topUp: ['Relay'], transport: 'Hybrid' },
    source: {
      url: `${origin.url}/${uid}.bin`,
      headers: {},
      validator: { etag: '"v1"' },
      ranges: true,
    },
    target: { path: `models/${uid}`, fileMode: '0644' },
  };
  const made: Distribution = {
    task,
    body,
    keys,
    rateBytesPerSecond: change.rate ?? 100 * MIB,
    extentPieces: change.extentPieces ?? 16,
    blocked: change.blocked ?? false,
    free: Array.from({ length: layout.pieceCount }, (_, piece) => piece),
  };
  distributions.set(uid, made);
  for (const { name, kind } of programs) {
    for (const message of messagesFor(made, name, kind)) control.send(message, { name });
  }
  return made;
}

function messagesFor(
  { task, blocked }: Distribution,
  name: string,
  kind: Peer['role'],
): WorkMessage[] {
  const { source, target, ...common } = task;
  const isTold = kind === 'relay' || task.delivery.topUp.includes('Origin');
  const own = { ...common, ...(isTold && { source }), ...(kind === 'agent' && { target }) };
  const peers = programs
    .filter((program) => program.name !== name)
    .map((program) => ({
      id: program.name,
      role: program.kind,
      host: '127.0.0.1',
      port: blocked ? CLOSED_PORT : program.bitTorrentPort,
      ...(program.kind === 'relay' && { httpPort: program.httpPort }),
    }));
  return [
    { type: 'task', task: own as Task },
    { type: 'peers', uid: task.uid, epoch: 1, peers },
  ];
}

function workOf({ name, request }: FakeSession): WorkMessage[] {
  return [...distributions.values()].flatMap((each) => messagesFor(each, name, request.kind));
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function freePort(): Promise<number> {
  const server = createNetServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const visible = (name: string, uid: string) =>
  path.join(programOf(name).folder, 'team/models', uid, `${uid}.bin`);

async function sha256OnDisk(name: string, uid: string): Promise<string> {
  return sha256Of(await readFile(visible(name, uid)));
}

function receivedBytes({ received }: TransferReport): number {
  return Object.values(received).reduce((sum, bytes) => sum + bytes, 0);
}

/** What a process says, once it says so. */
function reported(
  name: string,
  uid: string,
  check: (report: TransferReport) => boolean,
  timeoutMs = 20_000,
): Promise<TransferReport> {
  return vi.waitFor(
    () => {
      const report = control.lastReport(name, uid);
      if (report === undefined || !check(report)) {
        throw new Error(`${name} says of ${uid}: ${JSON.stringify(report)}`);
      }
      return report;
    },
    { timeout: timeoutMs, interval: 20 },
  );
}

const ready = (name: string, uid: string) => reported(name, uid, ({ state }) => state === 'ready');

function showLogsOnFailure(): void {
  onTestFailed(async () => {
    for (const { name } of programs) {
      const log = await readFile(path.join(folder, `${name}.log`), 'utf8').catch(() => '');
      console.log(`--- ${name}\n${log.slice(-4_000)}`);
    }
  });
}

describe('relay and agents', () => {
  it('bring a file to every node, whole, and take it from the origin once', async () => {
    showLogsOnFailure();
    const { body } = distribute('whole', 24 * MIB + 1);
    const reports = await Promise.all(['one', 'two'].map((name) => ready(name, 'whole')));
    for (const name of ['one', 'two']) {
      expect(await sha256OnDisk(name, 'whole')).toBe(sha256Of(body));
    }
    for (const report of reports) {
      expect(report.verifiedBytes).toBe(body.length);
      expect(report.firstByteAtMs).toBeGreaterThan(Date.now() - 60_000);
      // Without a floor everything comes over BitTorrent.
      const { fromPeers, fromRelays, fromRelayHttp, fromOrigin } = report.received;
      expect(fromPeers + fromRelays).toBeGreaterThanOrEqual(body.length);
      expect([fromRelayHttp, fromOrigin]).toEqual([0, 0]);
    }
    const relay = await ready('relay', 'whole');
    expect(relay.received.fromOrigin).toBeGreaterThanOrEqual(body.length);
    expect(origin.sentBytes.get('/whole.bin')).toBeLessThanOrEqual(body.length * 1.03);
    await vi.waitFor(() => expect(settled).toContain('whole'), { timeout: 5_000 });
    expect(leases.size).toBe(0);
  });

  it.each([0, 1, PIECE, PIECE + 1])('bring a file of %i bytes', async (sizeBytes) => {
    showLogsOnFailure();
    const uid = `size-${sizeBytes}`;
    const { body } = distribute(uid, sizeBytes);
    await Promise.all(['one', 'two'].map((name) => ready(name, uid)));
    expect(await sha256OnDisk('two', uid)).toBe(sha256Of(body));
  });

  it('go on after kill -9 without fetching a verified piece again', async () => {
    showLogsOnFailure();
    const { body } = distribute('killed', 24 * MIB, { rate: 8 * MIB });
    const half = body.length / 2;
    const before = await reported('one', 'killed', ({ verifiedBytes }) => verifiedBytes > half);
    await kill('one', 'SIGKILL');
    control.reports.length = 0;
    launch(programOf('one'));
    const after = await ready('one', 'killed');
    expect(await sha256OnDisk('one', 'killed')).toBe(sha256Of(body));
    const missing = body.length - before.verifiedBytes;
    expect(receivedBytes(after)).toBeLessThanOrEqual(missing);
  });

  it('report a placed version at once after a restart, and fetch nothing', async () => {
    showLogsOnFailure();
    await kill('two', 'SIGTERM');
    control.reports.length = 0;
    launch(programOf('two'));
    const report = await ready('two', 'whole');
    expect(receivedBytes(report)).toBe(0);
    expect(report.verifiedBytes).toBe(24 * MIB + 1);
  });

  it('go on while the control server is gone, and report when it is back', async () => {
    showLogsOnFailure();
    const { body } = distribute('alone', 24 * MIB, { rate: 8 * MIB, extentPieces: 96 });
    await reported('one', 'alone', ({ verifiedBytes }) => verifiedBytes > 4 * MIB);
    await control.stop();
    await vi.waitFor(async () => expect(await sha256OnDisk('one', 'alone')).toBe(sha256Of(body)), {
      timeout: 15_000,
      interval: 200,
    });
    await control.start(Number(controlUrl.port));
    await Promise.all(['one', 'two'].map((name) => ready(name, 'alone')));
    expect(await sha256OnDisk('two', 'alone')).toBe(sha256Of(body));
  });

  it('hold the floor over HTTP when BitTorrent does not', async () => {
    showLogsOnFailure();
    const delivery = {
      topUp: ['Relay' as const],
      transport: 'Hybrid' as const,
      minRate: 10 * MIB,
    };
    const { body } = distribute('short', 12 * MIB, { delivery, blocked: true });
    const report = await ready('one', 'short');
    expect(await sha256OnDisk('one', 'short')).toBe(sha256Of(body));
    expect(report.received).toMatchObject({ fromPeers: 0, fromRelays: 0 });
    expect(report.received.fromRelayHttp).toBeGreaterThanOrEqual(body.length);
  });

  it('hold the floor from the origin when neither BitTorrent nor relays do', async () => {
    showLogsOnFailure();
    const delivery = {
      topUp: ['Origin' as const],
      transport: 'Hybrid' as const,
      minRate: 10 * MIB,
    };
    const { body } = distribute('far', 12 * MIB, { delivery, blocked: true });
    const report = await ready('one', 'far');
    expect(await sha256OnDisk('one', 'far')).toBe(sha256Of(body));
    expect(report.received).toMatchObject({ fromPeers: 0, fromRelays: 0, fromRelayHttp: 0 });
    expect(report.received.fromOrigin).toBeGreaterThanOrEqual(body.length);
    expect(
      [...leases.values()].filter(({ uid, pullerKey }) => uid === 'far' && pullerKey === ''),
    ).toEqual([]);
  });

  it('bring the file over HTTP alone where that is said', async () => {
    showLogsOnFailure();
    const delivery = { topUp: ['Relay' as const], transport: 'HTTP' as const };
    const { body } = distribute('plain', 12 * MIB, { delivery });
    const report = await ready('one', 'plain');
    expect(await sha256OnDisk('one', 'plain')).toBe(sha256Of(body));
    expect(report.received).toMatchObject({ fromPeers: 0, fromRelays: 0 });
  });

  it('report a wrong digest and place nothing', async () => {
    showLogsOnFailure();
    distribute('wrong', 2 * MIB, { sha256: '0'.repeat(64) });
    for (const name of ['one', 'two']) {
      const report = await reported(name, 'wrong', ({ state }) => state === 'failed');
      expect(report.error?.reason).toBe('DigestMismatch');
      await expect(readFile(visible(name, 'wrong'))).rejects.toMatchObject({ code: 'ENOENT' });
    }
  });

  it('report why the origin gives nothing', async () => {
    showLogsOnFailure();
    const made = distribute('gone', 2 * MIB, { withoutFile: true });
    const report = await reported('relay', 'gone', ({ error }) => error !== undefined);
    expect(report.error?.reason).toBe('SourceNotFound');
    distributions.delete(made.task.uid);
    control.send({ type: 'remove', uid: 'gone', deleteFiles: true });
    await reported('one', 'gone', ({ state }) => state === 'removed');
  });

  it('delete everything on a tombstone, also half way', async () => {
    showLogsOnFailure();
    distribute('halfway', 24 * MIB, { rate: 8 * MIB });
    await reported('one', 'halfway', ({ verifiedBytes }) => verifiedBytes > 4 * MIB);
    for (const uid of distributions.keys()) {
      control.send({ type: 'remove', uid, deleteFiles: true });
    }
    await Promise.all(
      [...distributions.keys()].flatMap((uid) =>
        programs.map(({ name }) => reported(name, uid, ({ state }) => state === 'removed')),
      ),
    );
    distributions.clear();
    for (const { folder: root } of programs) expect(await readdir(root)).toEqual([]);
  });

  it('settle their leases when they are told to stop', async () => {
    showLogsOnFailure();
    distribute('last', 24 * MIB, { rate: 2 * MIB });
    await reported('relay', 'last', ({ verifiedBytes }) => verifiedBytes > 0);
    expect(await kill('relay', 'SIGTERM')).toBe(0);
    expect(settled.at(-1)).toBe('last');
    expect(leases.size).toBe(0);
  });
});
