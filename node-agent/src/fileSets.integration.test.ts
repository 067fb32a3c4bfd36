/** As many files as a set may have through real processes, and what its second epoch costs. */
import { randomBytes } from 'node:crypto';
import { lstat, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { Task, TransferReport } from '@sluice/protocol/messages.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LeasedTask, LeaseTable } from './testing/leaseTable.ts';
import { ProcessFleet, receivedBytes, sha256Of } from './testing/processFleet.ts';
import { TestOrigin } from './testing/testOrigin.ts';

const MIB = 1024 * 1024;
const PIECE = 262_144;
const FILES = 1_000;
const NODES = ['one', 'two'];
const TIMEOUT_MS = 120_000;

interface SetFile {
  readonly path: string;
  readonly body: Buffer;
  /** Whether the user names its digest. */
  readonly isNamed: boolean;
}

const origin = new TestOrigin();
const fleet = new ProcessFleet({ relay: 'relay', one: 'agent', two: 'agent' }, vi);
const table = new LeaseTable<LeasedTask>(PIECE);

beforeAll(async () => {
  await origin.start();
  await fleet.start({
    work: ({ name }) =>
      [...table.distributions.values()].flatMap(({ task }) => fleet.messagesFor(task, name)),
    lease: (request) => table.answer(request),
  });
});

beforeEach(({ onTestFailed }) => onTestFailed(() => fleet.printLogs()));

afterAll(async () => {
  await fleet.stop();
  await origin.stop();
});

/** Empty, of one byte, of one piece exactly, of several pieces, and of some KiB; some in folders. */
function sizeOf(at: number): number {
  if (at % 10 === 3) return 0;
  if (at % 10 === 6) return 1;
  if (at % 50 === 7) return PIECE;
  if (at % 25 === 9) return 3 * PIECE + at;
  return 1_000 + at;
}

function newFile(at: number): SetFile {
  const folder = ['', 'weights/', 'weights/deep/er/', 'a folder/'][at % 4];
  const path = `${folder}file-${at}.bin`;
  return { path, body: randomBytes(sizeOf(at)), isNamed: at % 3 !== 0 };
}

function distribute(
  uid: string,
  epoch: number,
  files: readonly SetFile[],
  rateBytesPerSecond = 100 * MIB,
  target: Partial<NonNullable<Task['target']>> = {},
): Task {
  const layout = layoutOf(
    files.map(({ path, body, isNamed }) => ({
      path,
      sizeBytes: body.length,
      ...(isNamed && { sha256: sha256Of(body) }),
    })),
    PIECE,
  );
  const keys = generateFeedKeyPair();
  const owner = { uid, epoch, feedKey: keys.publicKey };
  const task: Task = {
    uid,
    namespace: 'team',
    name: uid,
    epoch,
    swarmId: swarmIdOf(layout, owner).toString('hex'),
    pieceLengthBytes: PIECE,
    files: [...layout.files],
    feedKey: keys.publicKey.toString('base64'),
    swarmSecret: randomBytes(32).toString('base64'),
    relayToken: randomBytes(16).toString('hex'),
    delivery: { topUp: ['Relay'], transport: 'Hybrid' },
    source: {
      url: `${origin.url}/${uid}/`,
      headers: {},
      files: files.map(({ path, body }) => ({
        path,
        validator: { etag: origin.put(`/${uid}/${path}`, body) },
      })),
      ranges: true,
    },
    target: { path: `sets/${uid}`, fileMode: '0444', ...target },
  };
  table.distributions.set(uid, {
    task,
    keys,
    rateBytesPerSecond,
    extentPieces: 64,
    free: Array.from({ length: layout.pieceCount }, (_, piece) => piece),
  });
  for (const { name } of fleet.programs) {
    for (const message of fleet.messagesFor(task, name)) fleet.control.send(message, { name });
  }
  return task;
}

const linkOf = (name: string, uid: string) =>
  path.join(fleet.programOf(name).folder, 'team/sets', uid);

async function filesIn(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const found = new Map<string, string>();
  for (const entry of entries.filter((each) => each.isFile())) {
    const at = path.join(entry.parentPath, entry.name);
    found.set(path.relative(folder, at), sha256Of(await readFile(at)));
  }
  return found;
}

const sumsOf = (files: readonly SetFile[]) =>
  new Map(files.map(({ path, body }) => [path, sha256Of(body)]));

const bytesOf = (files: readonly SetFile[]) =>
  files.reduce((sum, { body }) => sum + body.length, 0);

function sentBytes(uid: string): number {
  const own = [...origin.sentBytes].filter(([path]) => path.startsWith(`/${uid}/`));
  return own.reduce((sum, [, bytes]) => sum + bytes, 0);
}

describe('a set of files', () => {
  const uid = 'set';
  const first = Array.from({ length: FILES }, (_, at) => newFile(at));
  /** A tenth is new, among them files of another size, and one has another name. */
  const isChanged = (at: number) => at % 10 === 9;
  const second = first.map((file, at) => {
    if (!isChanged(at)) return file;
    const body = randomBytes(at % 20 === 9 ? file.body.length : file.body.length + 7);
    return { ...file, body, path: at === 19 ? 'renamed/to this' : file.path };
  });

  it('is on every node whole, each file as it is at the origin', {
    timeout: TIMEOUT_MS,
  }, async () => {
    distribute(uid, 1, first);
    for (const name of NODES) {
      const report = await fleet.ready(name, uid);
      expect(report.verifiedBytes).toBe(bytesOf(first));
      expect(await filesIn(`${linkOf(name, uid)}/`)).toEqual(sumsOf(first));
      expect((await lstat(linkOf(name, uid))).isSymbolicLink()).toBe(true);
    }
    await fleet.ready('relay', uid);
    // Every request held for its own file's version, and no byte was asked for twice.
    expect(origin.unguarded).toBe(0);
    expect(sentBytes(uid)).toBe(bytesOf(first));
    // Of a lease, and not of a file.
    expect(origin.connections).toBeLessThan(FILES / 5);
  });

  it('costs in its next epoch what differs, and nothing else', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const before = sentBytes(uid);
    distribute(uid, 2, second);
    const changed = second.filter((_, at) => isChanged(at));
    for (const name of NODES) {
      const report = await fleet.ready(name, uid, 2);
      expect(await readlink(linkOf(name, uid))).toMatch(/\/2$/);
      expect(await filesIn(`${linkOf(name, uid)}/`)).toEqual(sumsOf(second));
      expect(report.verifiedBytes).toBe(bytesOf(second));
      expect(receivedBytes(report)).toBe(bytesOf(changed));
    }
    // Whether a file is the same only its digest tells a relay; nodes hear it from the feed.
    const unnamed = second.filter(({ isNamed }, at) => !isNamed && !isChanged(at));
    expect(sentBytes(uid) - before).toBe(bytesOf(changed) + bytesOf(unnamed));
    expect(origin.unguarded).toBe(0);
  });

  it('fetches what somebody has changed of the version before', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const spoilt = second.find(({ body, isNamed }) => isNamed && body.length > PIECE);
    if (spoilt === undefined) throw new Error('no file of several pieces');
    const at = path.join(await realFolder('one', uid), spoilt.path);
    await writeFile(at, randomBytes(spoilt.body.length));
    const third = second.map((file, index) =>
      index === 0 ? { ...file, body: randomBytes(500) } : file,
    );
    distribute(uid, 3, third);
    const report = await fleet.ready('one', uid, 3);
    expect(await filesIn(`${linkOf('one', uid)}/`)).toEqual(sumsOf(third));
    expect(receivedBytes(report)).toBe(spoilt.body.length + 500);
    await fleet.ready('two', uid, 3);
  });

  it(
    'is there at once where the visible version has the same digests',
    async () => {
      const files = Array.from({ length: 20 }, (_, at) => ({ ...newFile(at), isNamed: true }));
      distribute('again', 1, files);
      for (const name of [...NODES, 'relay']) await fleet.ready(name, 'again');
      const before = sentBytes('again');
      distribute('again', 2, files);
      for (const name of NODES) {
        expect(receivedBytes(await fleet.ready(name, 'again', 2))).toBe(0);
        expect(await filesIn(`${linkOf(name, 'again')}/`)).toEqual(sumsOf(files));
      }
      await fleet.ready('relay', 'again', 2);
      expect(sentBytes('again')).toBe(before);
    },
    TIMEOUT_MS,
  );
});

describe('the target of a version that is in its place', () => {
  it('acts when it is edited: earlier versions, and the mode of the files', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const uid = 'target';
    const versions = async (name: string) => {
      const folder = path.dirname(await realFolder(name, uid));
      return (await readdir(folder)).filter((each) => /^\d+$/.test(each)).sort();
    };
    const edit = (before: Task, target: Partial<NonNullable<Task['target']>>) => {
      const edited = { ...before, target: { ...before.target!, ...target } };
      for (const { name } of fleet.programs) {
        for (const message of fleet.messagesFor(edited, name))
          fleet.control.send(message, { name });
      }
    };
    let task: Task | undefined;
    for (const epoch of [1, 2, 3]) {
      task = distribute(uid, epoch, [newFile(0)], undefined, { keepVersions: 2 });
      for (const name of NODES) await fleet.ready(name, uid, epoch);
    }
    for (const name of NODES) {
      await vi.waitFor(async () => expect(await versions(name)).toEqual(['1', '2', '3']));
    }
    edit(task!, { keepVersions: 0, fileMode: '0755' });
    for (const name of NODES) {
      await vi.waitFor(async () => expect(await versions(name)).toEqual(['3']));
      const file = path.join(linkOf(name, uid), newFile(0).path);
      await vi.waitFor(async () => expect((await lstat(file)).mode & 0o777).toBe(0o755));
    }
  });
});

describe('a node that is killed while it builds its next version', () => {
  it('has what it copied and what it fetched', { timeout: TIMEOUT_MS }, async () => {
    const uid = 'killed';
    const files = Array.from({ length: 40 }, (_, at) => newFile(at));
    distribute(uid, 1, files);
    for (const name of NODES) await fleet.ready(name, uid);
    const large = { path: 'new/large.bin', body: randomBytes(16 * MIB), isNamed: false };
    distribute(uid, 2, [...files, large], 4 * MIB);
    const enough = bytesOf(files) + 4 * MIB;
    const isHalfWay = ({ epoch, verifiedBytes }: TransferReport) =>
      epoch === 2 && verifiedBytes > enough;
    const before = await fleet.reported('one', uid, isHalfWay);
    await fleet.kill('one', 'SIGKILL');
    expect(await filesIn(`${linkOf('one', uid)}/`)).toEqual(sumsOf(files));
    fleet.control.reports.length = 0;
    fleet.launch('one');
    const after = await fleet.ready('one', uid, 2);
    expect(await filesIn(`${linkOf('one', uid)}/`)).toEqual(sumsOf([...files, large]));
    expect(receivedBytes(after)).toBeLessThanOrEqual(
      bytesOf([...files, large]) - before.verifiedBytes,
    );
    await fleet.ready('two', uid, 2);
  });
});

async function realFolder(name: string, uid: string): Promise<string> {
  const link = linkOf(name, uid);
  return path.resolve(path.dirname(link), await readlink(link));
}
