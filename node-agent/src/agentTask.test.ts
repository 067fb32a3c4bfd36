import { EventEmitter } from 'node:events';
import { mkdir, mkdtemp, open, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import type { Task } from '@sluice/protocol/messages.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from 'winston';
import { AgentTask } from './agentTask.ts';
import { DiskUse } from './diskUse.ts';

const PIECE = 16 * 1024 * 1024;
/** A file of holes: the disk must have room for it, and to read it takes longer than the test waits. */
const SIZE = 24 * 1024 ** 3;

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
    target: { path: 'one', fileMode: '0644' },
  };
}

function agentTask(task: Task) {
  const nobody = () => {
    throw new Error('nobody is asked');
  };
  return new AgentTask(
    {
      task,
      root,
      minFreePercent: 0,
      namespaceShares: { others: { percent: 100 }, named: new Map() },
      check: { lookMs: 60_000, rehashMs: 60_000 },
    },
    {
      engine: new EngineHost({ port: 0, role: 'agent' }),
      client: { lease: nobody },
      http: { connection: nobody },
      httpSource: () => ({ connection: nobody }),
      clock: systemClock,
      random: () => 0.5,
      wallClock: () => 0,
      logger: createLogger({ silent: true }),
      diskUse: new DiskUse(),
      orphans: { list: async () => [] },
      news: new EventEmitter(),
      onChange: () => {},
    },
  );
}

describe('a task that reads through what it has found', () => {
  it('can be stopped meanwhile', async () => {
    const folder = path.join(root, 'team/.sluice/u/1');
    await mkdir(folder, { recursive: true });
    const file = await open(path.join(folder, 'a.bin'), 'w');
    await file.truncate(SIZE);
    await file.close();
    // Whole, and of other pieces: the file is held against its digest.
    await writeFile(`${folder}.state`, `sluice02${'\0'.repeat(55)}\u0001`);
    const task = agentTask(taskOf(SIZE));
    task.start();
    await vi.waitFor(() => stat(path.join(root, 'team/.sluice/u/link')));
    await sleep(200);
    expect(task.report()).toMatchObject({ state: 'pending' });
    const stopped = task.stop().then(() => 'stopped');
    expect(await Promise.race([stopped, sleep(5_000, 'reads on')])).toBe('stopped');
  });
});

describe("a namespace's folder that an administrator has made a link of", () => {
  it('has its versions where it leads to', async () => {
    await mkdir(path.join(root, 'disk'));
    await symlink('disk', path.join(root, 'team'));
    const task = agentTask(taskOf(PIECE));
    task.start();
    await vi.waitFor(() => expect(task.report().state).not.toBe('pending'));
    // Nobody has the bytes.
    expect(task.report()).toMatchObject({ state: 'transferring' });
    expect((await stat(path.join(root, 'disk/.sluice/u/1/a.bin'))).size).toBe(PIECE);
    await task.stop();
  });
});
