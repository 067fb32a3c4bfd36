import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import {
  chmod,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';
import { nodeFileSystem } from './nodeFileSystem.ts';
import { storeErrorOf } from './storeError.ts';

const CONFLICT = { code: 'PathConflict' };
const never = new AbortController().signal;
const MAKE_PIPE = 'mkfifo';
const WITHOUT_RIGHTS = 'setpriv';
const WITH_FEW_FILES = 'prlimit';

let root: string;
let own: string;
let victim: string;
const pipes: string[] = [];

beforeEach(async () => {
  root = await realpath(await mkdtemp(path.join(tmpdir(), 'sluice-straight-')));
  own = path.join(root, 'own');
  victim = path.join(root, 'victim');
  await mkdir(path.join(own, 'real'), { recursive: true });
  await mkdir(path.join(victim, 'folder'), { recursive: true });
  await writeFile(path.join(victim, 'file'), 'precious');
  await writeFile(path.join(victim, 'folder/inner'), 'precious');
  await writeFile(path.join(own, 'mine'), 'mine');
  await symlink(victim, path.join(own, 'sub'));
});

afterEach(async () => {
  // Whoever waits at one of them waits no more: else the tests that failed would never end.
  for (const pipe of pipes.splice(0)) {
    await open(pipe, constants.O_RDWR | constants.O_NONBLOCK).then(
      (it) => it.close(),
      () => {},
    );
  }
  await rm(root, { recursive: true });
});

function makePipe(at: string): string {
  execFileSync(MAKE_PIPE, [at]);
  pipes.push(at);
  return at;
}

async function expectVictimUntouched(): Promise<void> {
  expect((await readdir(victim, { recursive: true })).sort()).toEqual([
    'file',
    'folder',
    'folder/inner',
  ]);
  expect(await readFile(path.join(victim, 'file'), 'utf8')).toBe('precious');
  expect((await stat(path.join(victim, 'file'))).mode & 0o777).toBe(0o644);
}

const through = (name: string) => path.join(own, 'sub', name);
const { remove, rename: renameTo, makeFolder, makeLink, list, syncFolder } = nodeFileSystem;
const opens = (access: 'read' | 'write' | 'create', name: string) =>
  nodeFileSystem.open(through(name), access).then((file) => file.close());

describe('the file system of a node', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['reads', () => opens('read', 'file')],
    ['writes', () => opens('write', 'file')],
    ['makes, over a file', () => opens('create', 'file')],
    ['makes', () => opens('create', 'new')],
    ['makes folders', () => makeFolder(through('new'))],
    ['makes links', () => makeLink('x', through('new'))],
    ['renames from', () => renameTo(through('file'), path.join(own, 'stolen'))],
    ['renames to', () => renameTo(path.join(own, 'mine'), through('file'))],
    ['removes', () => remove(through('file'))],
    ['removes folders', () => remove(through('folder'))],
    ['lists', () => list(through(''))],
    ['lists folders', () => list(through('folder'))],
    ['syncs', () => syncFolder(through('folder'))],
    ['clones to', () => nodeFileSystem.clone(path.join(own, 'mine'), through('new'))],
  ])('%s nothing behind a folder that has become a link', async (_, act) => {
    const error = await act().then(
      () => undefined,
      (failed) => storeErrorOf(failed, 'it'),
    );
    expect(error).toMatchObject(CONFLICT);
    await expectVictimUntouched();
    expect(await readFile(path.join(own, 'mine'), 'utf8')).toBe('mine');
  });

  it('clones nothing from behind one', async () => {
    const to = path.join(own, 'new');
    expect(await nodeFileSystem.clone(through('file'), to)).toBe(false);
    await expect(stat(to)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('removes links, and not what they lead to, however deep', async () => {
    await symlink(victim, path.join(own, 'real/deep'));
    await mkdir(path.join(own, 'real/a/b'), { recursive: true });
    await symlink('../../../../victim/file', path.join(own, 'real/a/b/link'));
    await remove(own);
    expect(await readdir(root)).toEqual(['victim']);
    await expectVictimUntouched();
    await remove(own);
  });

  it('removes what has a name that is no text', async () => {
    const inner = Buffer.concat([Buffer.from(path.join(own, 'real/')), Buffer.from([0x61, 0xff])]);
    await mkdir(inner);
    for (const folder of [inner, Buffer.from(own)]) {
      const names = [[0x62, 0xff, 0xfe], [0xc3]].map((bytes) => Buffer.from([0x2f, ...bytes]));
      for (const name of names) await writeFile(Buffer.concat([folder, name]), '');
    }
    await remove(own);
    expect(await readdir(root)).toEqual(['victim']);
  });

  it('removes folders that are deeper than a path is long', async () => {
    // 30 times 250 characters; and more of them than the process may have files open.
    const script = `
      for (const [name, count] of [['n'.repeat(250), 30], ['f', 250]]) {
        process.chdir(process.argv[1]);
        for (let at = 0; at < count; at += 1) {
          fs.mkdirSync(name);
          process.chdir(name);
          fs.writeFileSync('file', '');
          fs.mkdirSync('z');
        }
      }`;
    execFileSync(process.execPath, ['-e', script, path.join(own, 'real')]);
    const removal = `
      import { nodeFileSystem } from '${path.join(import.meta.dirname, 'nodeFileSystem.ts')}';
      await nodeFileSystem.remove(process.argv[1]);`;
    const node = [process.execPath, '--no-warnings', '--input-type=module', '-e', removal, own];
    execFileSync(WITH_FEW_FILES, ['--nofile=200', ...node]);
    expect(await readdir(root)).toEqual(['victim']);
  });

  it.each(['read', 'write', 'create'] as const)(
    'waits at no pipe that it is to open to %s, and takes neither it nor a folder for a file',
    async (access) => {
      const pipe = makePipe(path.join(own, 'pipe'));
      for (const at of [pipe, path.join(own, 'real')]) {
        const failed = await nodeFileSystem.open(at, access).catch((error) => error);
        expect(storeErrorOf(failed, 'it')).toMatchObject(CONFLICT);
      }
    },
  );

  it('waits at no pipe that it is to clone, list or sync', async () => {
    const pipe = makePipe(path.join(own, 'pipe'));
    expect(await nodeFileSystem.clone(pipe, path.join(own, 'new'))).toBe(false);
    await expect(list(pipe)).rejects.toMatchObject({ code: 'ENOTDIR' });
    await expect(syncFolder(pipe)).rejects.toMatchObject({ code: 'ENOTDIR' });
    await remove(pipe);
    await expect(stat(pipe)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('says the path that it was asked for when something fails', async () => {
    const at = path.join(own, 'real/none/new');
    await expect(makeFolder(path.join(own, 'mine/new'))).rejects.toThrow(path.join(own, 'mine'));
    await mkdir(path.dirname(at));
    await mkdir(at);
    await expect(makeFolder(at)).rejects.toThrow(`'${at}'`);
  });
});

describe('a version whose files somebody changes while it is open', () => {
  const files = Array.from({ length: 6 }, (_, at) => ({ path: `sub/${at}`, sizeBytes: 16_384 }));
  const layout = layoutOf(files, 16_384);
  let folder: string;
  let store: FileStore;

  beforeEach(async () => {
    folder = path.join(own, 'uid/1');
    store = new FileStore({ folder, layout });
    await store.open(never);
  });

  afterEach(() => store.close());

  it('keeps nobody waiting: its pipes are in the way', async () => {
    for (const file of files) {
      const at = path.join(folder, file.path);
      await rm(at);
      makePipe(at);
    }
    const reads = files.map((_, piece) => store.read(piece, 0, 16_384));
    for (const read of await Promise.allSettled(reads)) {
      expect(read).toMatchObject({ status: 'rejected', reason: CONFLICT });
    }
    // More than all threads of the process had been waiting.
    expect(await readFile(path.join(victim, 'file'), 'utf8')).toBe('precious');
  });

  it("puts no byte into another one's, and reads none of it", async () => {
    const theirs = Buffer.alloc(16_384, 'theirs');
    await writeFile(path.join(victim, '0'), theirs);
    await rename(path.join(folder, 'sub'), path.join(folder, 'aside'));
    await symlink(victim, path.join(folder, 'sub'));
    await expect(store.put(0, Buffer.alloc(16_384, 1))).rejects.toMatchObject(CONFLICT);
    await expect(store.read(0, 0, 16_384)).rejects.toMatchObject(CONFLICT);
    expect((await readFile(path.join(victim, '0'))).equals(theirs)).toBe(true);
    await rm(path.join(victim, '0'));
    await expectVictimUntouched();
  });
});

it.runIf(process.getuid?.() === 0)(
  'opens a file that permits nobody anything where root has no more rights than others',
  async () => {
    const at = path.join(own, 'mine');
    await chmod(at, 0);
    const script = `
      import { nodeFileSystem } from '${path.join(import.meta.dirname, 'nodeFileSystem.ts')}';
      const file = await nodeFileSystem.open(process.argv[1], 'write');
      await file.write(Buffer.from('ours'), 0);`;
    const node = [process.execPath, '--no-warnings'];
    const drop = ['--bounding-set', '-all', '--inh-caps', '-all', '--', ...node];
    execFileSync(WITHOUT_RIGHTS, [...drop, '--input-type=module', '-e', script, at]);
    expect(await readFile(at, 'utf8')).toBe('ours');
    // What it may not read of another's, it does not touch either.
    await chmod(path.join(victim, 'file'), 0o400);
    expect(() =>
      execFileSync(
        WITHOUT_RIGHTS,
        [...drop, '--input-type=module', '-e', script, through('file')],
        {
          stdio: 'ignore',
        },
      ),
    ).toThrow();
    expect((await stat(path.join(victim, 'file'))).mode & 0o777).toBe(0o400);
  },
);
