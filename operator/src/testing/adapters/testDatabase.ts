/**
 * Real databases for integration tests, on loopback: FerretDB, which speaks MongoDB's wire protocol
 * and whose binary is the test cluster's; and MongoDB itself where Docker has or can pull its image.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { glob, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Db, MongoClient } from 'mongodb';
import { GenericContainer, Wait } from 'testcontainers';
import { newMongoClient } from '../../store/database.ts';
import { toolCache } from '../config.ts';

const START_TIMEOUT_MS = 30_000;
const IMAGE = 'mongo:8';
const PULL_TIMEOUT_MS = 300_000;
const DOCKER_TIMEOUT_MS = 10_000;
const run = promisify(execFile);

export interface TestDatabase {
  /** For clients of other processes. */
  readonly uri: string;
  readonly client: MongoClient;
  readonly database: Db;
  /** Ends the server as a crash does. */
  crash(): Promise<void>;
  /** On the same data and port. */
  restart(): Promise<void>;
  /** It answers nobody until it goes on. */
  freeze(): Promise<void>;
  goOn(): Promise<void>;
  /** What its files take on the disk. */
  dataBytes(): Promise<number>;
  stop(): Promise<void>;
}

export async function startTestDatabase(): Promise<TestDatabase> {
  const binary = await findBinary();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'sluice-ferretdb-'));
  const port = await freePort();
  const launch = (): ChildProcess => {
    const args = [`-listen=127.0.0.1:${port}`, `-data=${folder}/data`];
    const child = spawn(binary, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    const log = createWriteStream(path.join(folder, 'ferretdb.log'), { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    return child;
  };
  const uri = `mongodb://127.0.0.1:${port}/sluice`;
  const client = newMongoClient(uri);
  let server = launch();
  const stop = async () => {
    await client.close();
    await end(server);
    await rm(folder, { recursive: true, force: true });
  };
  const database = client.db('sluice');
  try {
    await ready(database, folder);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    uri,
    client,
    database,
    crash: () => end(server),
    restart: async () => {
      server = launch();
      await ready(database, folder);
    },
    freeze: async () => void server.kill('SIGSTOP'),
    goOn: async () => void server.kill('SIGCONT'),
    dataBytes: () => bytesIn(path.join(folder, 'data')),
    stop,
  };
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder)) bytes += (await stat(path.join(folder, name))).size;
  return bytes;
}

/** What the tests of the store run against here: by name, and how to start one. */
export async function testDatabases(): Promise<[string, () => Promise<TestDatabase>][]> {
  const ferret: [string, () => Promise<TestDatabase>] = ['FerretDB', startTestDatabase];
  return (await hasMongoImage()) ? [ferret, [IMAGE, startMongo]] : [ferret];
}

/** Docker works, and has the image or can pull it. */
async function hasMongoImage(): Promise<boolean> {
  try {
    await run('docker', ['info'], { timeout: DOCKER_TIMEOUT_MS });
    const inspect = run('docker', ['image', 'inspect', IMAGE], { timeout: DOCKER_TIMEOUT_MS });
    await inspect.catch(() => run('docker', ['pull', IMAGE], { timeout: PULL_TIMEOUT_MS }));
    return true;
  } catch {
    return false;
  }
}

/** A replica set of one member, as the chart's bundled one is. */
async function startMongo(): Promise<TestDatabase> {
  const port = await freePort();
  const container = await new GenericContainer(IMAGE)
    .withCommand(['mongod', '--replSet', 'rs0', '--bind_ip_all'])
    // The same port after a restart: the client knows no other.
    .withExposedPorts({ container: 27_017, host: port })
    .withWaitStrategy(Wait.forLogMessage(/Waiting for connections/i))
    .start();
  const initiate = `rs.initiate({_id: 'rs0', members: [{_id: 0, host: '127.0.0.1:27017'}]})`;
  await container.exec(['mongosh', '--quiet', '--eval', initiate]);
  const uri = `mongodb://127.0.0.1:${port}/sluice?directConnection=true`;
  const client = newMongoClient(uri);
  const database = client.db('sluice');
  const stop = async () => {
    await client.close();
    await container.stop();
  };
  const docker = async (command: string) => {
    await run('docker', [command, container.getId()], { timeout: DOCKER_TIMEOUT_MS });
  };
  try {
    await untilWritable(database);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    uri,
    client,
    database,
    crash: () => docker('kill'),
    restart: async () => {
      await docker('start');
      await untilWritable(database);
    },
    freeze: () => docker('pause'),
    goOn: () => docker('unpause'),
    dataBytes: async () => Number((await database.stats()).storageSize),
    stop,
  };
}

/** It leads its replica set a moment after it answers. */
async function untilWritable(database: Db): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const hello = await database.command({ hello: 1 }).catch(() => undefined);
    if (hello?.isWritablePrimary === true) return;
    if (Date.now() > deadline) throw new Error(`${IMAGE} does not lead its replica set`);
    await sleep(100);
  }
}

async function findBinary(): Promise<string> {
  const pattern = path.join(toolCache(), 'cluster-*/bin/ferretdb');
  for await (const file of glob(pattern)) return file;
  throw new Error('there is no ferretdb to test against: run `make setup`');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function ready(database: Db, folder: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await database.command({ ping: 1 });
      return;
    } catch (error) {
      if (Date.now() > deadline) {
        const log = await readFile(path.join(folder, 'ferretdb.log'), 'utf8');
        throw new Error(`FerretDB did not start:\n${log.slice(-4000)}`, { cause: error });
      }
      await sleep(100);
    }
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}
