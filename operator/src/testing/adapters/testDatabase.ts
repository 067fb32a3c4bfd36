/**
 * A real database for integration tests: FerretDB, which speaks MongoDB's wire protocol, on
 * loopback and a folder of its own. The binary is the test cluster's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { glob, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db, MongoClient } from 'mongodb';
import { newMongoClient } from '../../store/database.ts';

const START_TIMEOUT_MS = 30_000;

export interface TestDatabase {
  readonly client: MongoClient;
  readonly database: Db;
  /** Ends the server as a crash does. */
  crash(): Promise<void>;
  /** On the same data and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startTestDatabase(): Promise<TestDatabase> {
  const binary = await findBinary();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'sluice-ferretdb-'));
  const port = await freePort();
  const run = (): ChildProcess => {
    const args = [`-listen=127.0.0.1:${port}`, `-data=${folder}/data`];
    const child = spawn(binary, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    const log = createWriteStream(path.join(folder, 'ferretdb.log'), { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    return child;
  };
  const client = newMongoClient(`mongodb://127.0.0.1:${port}/sluice`);
  let server = run();
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
    client,
    database,
    crash: () => end(server),
    restart: async () => {
      server = run();
      await ready(database, folder);
    },
    stop,
  };
}

async function findBinary(): Promise<string> {
  const pattern = path.join(os.homedir(), '.cache/sluice/cluster-*/bin/ferretdb');
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
