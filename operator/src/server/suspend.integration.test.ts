/** A real relay and a real agent under the control API, at an origin that counts what it gives. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import type { Distribution } from '../api/v1alpha1/distribution.ts';
import { makeEpoch } from '../controllers/distribution/epoch.ts';
import { hostOf } from '../quota/coverage.ts';
import { freePorts, startApiServer, type TestApiServer } from '../testing/adapters/apiServer.ts';
import { type ControlSetup, startControl } from '../testing/adapters/controlSetup.ts';
import { createAccounts, createPod } from '../testing/adapters/fleetPods.ts';
import { AGENT, RELAY } from '../testing/adapters/fleetProcess.ts';
import { MeteredOrigin } from '../testing/adapters/meteredOrigin.ts';
import { startTestDatabase, type TestDatabase } from '../testing/adapters/testDatabase.ts';
import { aPlanOf, aSpec } from '../testing/objects.ts';

const MIB = 1024 * 1024;
const BODY = randomBytes(48 * MIB);
const RATE = 8 * MIB;
/** Other tests may share the machine. */
const WAIT = { timeout: 60_000, interval: 20 };
const REPOSITORY = path.resolve(import.meta.dirname, '../../..');
const NODE = path.join(REPOSITORY, 'node_modules/.bin/node');

let api: TestApiServer;
let database: TestDatabase;
let control: ControlSetup;
let origin: MeteredOrigin;
let url: string;
let folder: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  [api, database] = await Promise.all([startApiServer(), startTestDatabase()]);
  await createAccounts(api.admin);
  control = await startControl(api, database);
  origin = new MeteredOrigin(BODY, 5);
  url = await origin.start();
  control.coordinator.setOrigins([
    {
      name: 'loopback',
      hosts: [hostOf(url)],
      limits: { maxConnections: 2, maxBandwidthBytesPerSecond: RATE },
      closeAfterSeconds: 120,
      allowPrivateAddresses: true,
      allowAgentCredentials: false,
    },
  ]);
  control.coordinator.primed();
  folder = await mkdtemp(path.join(os.tmpdir(), 'sluice-suspend-'));
  await writeFile(path.join(folder, 'ca.crt'), control.ca);
  await launch(RELAY);
  await launch(AGENT);
});

beforeEach(({ onTestFailed }) => onTestFailed(printLogs));

afterAll(async () => {
  await Promise.all(children.map(end));
  await control?.stop();
  await origin?.stop();
  await Promise.all([api?.stop(), database?.stop()]);
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

/** As its pod would run it. */
async function launch(options: typeof RELAY | typeof AGENT): Promise<void> {
  const { kind } = options;
  const { token } = await createPod(api.admin, { ...options, address: '127.0.0.1' });
  await writeFile(path.join(folder, `${kind}.token`), token);
  const root = path.join(folder, kind);
  await mkdir(root);
  const [bitTorrentPort, httpPort, healthPort] = await freePorts(3);
  const main = kind === 'relay' ? 'relay-image/src/main.ts' : 'node-agent/src/main.ts';
  const child = spawn(NODE, [main], {
    cwd: REPOSITORY,
    env: {
      SLUICE_CONTROL_URL: control.url.href,
      SLUICE_CA_FILE: path.join(folder, 'ca.crt'),
      SLUICE_TOKEN_FILE: path.join(folder, `${kind}.token`),
      SLUICE_ROOT: root,
      SLUICE_CACHE: root,
      SLUICE_BITTORRENT_PORT: String(bitTorrentPort),
      SLUICE_HTTP_PORT: String(httpPort),
      SLUICE_HEALTH_PORT: String(healthPort),
      SLUICE_STOCK_PORT: '0',
      SLUICE_MIN_FREE_PERCENT: '0',
    },
  });
  const log = createWriteStream(path.join(folder, `${kind}.log`));
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  children.push(child);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function printLogs(): Promise<void> {
  for (const kind of ['relay', 'agent']) {
    const log = await readFile(path.join(folder, `${kind}.log`), 'utf8').catch(() => '');
    console.log(`--- ${kind}\n${log.slice(-4_000)}`);
  }
}

it('a distribution that is suspended takes nothing from the origin, and what it has not twice', async () => {
  const uid = randomUUID();
  const metadata = { namespace: 'ml', name: 'llama', uid };
  const distribution = { metadata, spec: aSpec({ source: { url } }) } as Distribution;
  const source = { sizeBytes: BODY.length, validator: { etag: '"one"' }, ranges: true };
  const record = makeEpoch(distribution, { uid, epoch: 1 }, source, '2026-01-01T00:00:01Z');
  const plan = aPlanOf(record);
  const { coordinator } = control;
  const sent = () => origin.meter.totalBytes;
  const nodeState = () => coordinator.progress(uid)?.nodes[0]?.state;
  coordinator.apply(plan);
  await vi.waitFor(() => expect(sent()).toBeGreaterThan(BODY.length / 3), WAIT);

  coordinator.apply({ ...plan, suspend: true });
  await sleep(2_000);
  const atStop = sent();
  expect(atStop).toBeLessThan(BODY.length);
  await sleep(2_000);
  expect(sent()).toBe(atStop);
  expect(nodeState()).not.toBe('ready');

  coordinator.apply(plan);
  await vi.waitFor(() => expect(nodeState()).toBe('ready'), WAIT);
  const placed = await readFile(path.join(folder, 'agent/ml/llama/file.bin'));
  expect(placed.equals(BODY)).toBe(true);
  // But for heads, and what was on its way when it was stopped: a piece a connection.
  expect(sent()).toBeLessThanOrEqual(BODY.length * 1.03);
});
