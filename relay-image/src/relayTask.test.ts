import { mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RelayServer } from '@sluice/engine/adapters/http/relayServer.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import { ControlClient } from '@sluice/protocol/client/controlClient.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { CacheRoom } from './cacheRoom.ts';
import { RelayTask, type RelayTaskDependencies } from './relayTask.ts';

const PIECE = 16 * 1024 * 1024;
/** A file of holes: it takes no space, and longer to read than any test lasts. */
const SIZE = 64 * 1024 ** 3;

let root: string;

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'sluice-task-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

function taskOf(sizeBytes: number): Task {
  const files = [{ path: 'a.bin', sizeBytes, sha256: '0'.repeat(64) }];
  const { publicKey } = generateFeedKeyPair();
  const owner = { uid: 'u', epoch: 1, feedKey: publicKey };
  return {
    uid: 'u',
    namespace: 'team',
    name: 'one',
    epoch: 1,
    swarmId: swarmIdOf(layoutOf(files, PIECE), owner).toString('hex'),
    pieceLengthBytes: PIECE,
    files,
    feedKey: publicKey.toString('base64'),
    swarmSecret: Buffer.alloc(32).toString('base64'),
    relayToken: 'token',
    delivery: { topUp: [], transport: 'Hybrid' },
  };
}

const ROOMY = { make: async () => {}, release: () => {} };

function relayTask(task: Task, room: RelayTaskDependencies['room'] = ROOMY) {
  const nobody = () => {
    throw new Error('nobody is asked');
  };
  return new RelayTask(
    {
      task,
      folder: path.join(root, 'u/1'),
      earlier: async () => [],
      donors: async () => [],
    },
    {
      engine: new EngineHost({ port: 0, role: 'relay' }),
      relayServer: new RelayServer({ port: 0, maxConnections: 1 }, { admit: async () => {} }),
      client: new ControlClient(
        {
          controlUrl: new URL('https://localhost'),
          caFile: '',
          tokenFile: '',
          kind: 'relay',
          bitTorrentPort: 1,
        },
        { clock: systemClock, onProblem: () => {} },
      ),
      room,
      httpSource: () => ({ connection: nobody }),
      clock: systemClock,
      wallClock: () => 0,
      logger: createLogger({ silent: true }),
      onChange: () => {},
    },
  );
}

describe('a task that reads through what it has found', () => {
  it('can be stopped meanwhile', async () => {
    const folder = path.join(root, 'u/1');
    await mkdir(folder, { recursive: true });
    const file = await open(path.join(folder, 'a.bin'), 'w');
    await file.truncate(SIZE);
    await file.close();
    // Of other pieces: the file is held against its digest.
    await writeFile(`${folder}.state`, `sluice02${'\0'.repeat(55)}\u0001`);
    const task = relayTask(taskOf(SIZE));
    task.start();
    await sleep(200);
    expect(task.report()).toMatchObject({ state: 'pending' });
    const stopped = task.stop().then(() => 'stopped');
    expect(await Promise.race([stopped, sleep(10_000, 'reads on')])).toBe('stopped');
  });
});

describe('a task that the cache has no room for', () => {
  it('fails with the reason before anything of it is made or asked for', async () => {
    const options = { cacheFolder: root, minFreePercent: 0, maxCacheBytes: SIZE - 1 };
    const task = relayTask(taskOf(SIZE), new CacheRoom(options));
    task.start();
    await vi.waitFor(() => expect(task.report().state).toBe('failed'));
    expect(task.report().error).toMatchObject({
      reason: 'DiskPressure',
      message: expect.stringMatching(/the disk has 6\d\.00 GiB free .* need 64\.00 GiB/),
    });
    expect(await readdir(root)).toEqual([]);
    await task.stop();
  });
});
