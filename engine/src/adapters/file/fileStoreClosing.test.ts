/** A version that is being completed when its store is closed, or nobody wants it any more. */
import { beforeEach, expect, it } from 'vitest';
import { layoutOf } from '../../pieces/layout.ts';
import { FileStore } from './fileStore.ts';
import { CrashingDisk } from './testing/crashingDisk.ts';

const PIECE = 16_384;
const FOLDER = '/root/ns/.sluice/uid/1';
const LINK = '/root/ns/models/one';
const layout = layoutOf([{ path: 'a', sizeBytes: 2 * PIECE }], PIECE);
const never = new AbortController().signal;

/** Holds back what puts the link in its place, before and behind that. */
class HeldDisk extends CrashingDisk {
  readonly reached = Promise.withResolvers<void>();
  readonly #going = Promise.withResolvers<void>();
  hold: 'makeLink' | 'rename' | undefined;

  go(): void {
    this.#going.resolve();
  }

  override async makeLink(target: string, at: string): Promise<void> {
    if (this.hold === 'makeLink') await this.#wait();
    return super.makeLink(target, at);
  }

  override async rename(from: string, to: string): Promise<void> {
    if (this.hold === 'rename' && to === LINK) await this.#wait();
    return super.rename(from, to);
  }

  async #wait(): Promise<void> {
    this.reached.resolve();
    await this.#going.promise;
  }
}

let disk: HeldDisk;
let store: FileStore;

beforeEach(async () => {
  disk = new HeldDisk();
  await disk.makeFolder('/root');
  await disk.makeFolder('/root/ns');
  const clock = { now: () => 0, setTimer: () => ({ cancel: () => {} }) };
  store = new FileStore({ folder: FOLDER, layout, link: LINK }, { fileSystem: disk, clock });
  await store.open(never);
  for (const piece of [0, 1]) await store.put(piece, Buffer.alloc(PIECE, piece));
});

it('is closed only when the link is in its place: whoever deletes the version then deletes it', async () => {
  disk.hold = 'rename';
  const completing = store.complete(never);
  await disk.reached.promise;
  let isClosed = false;
  const closing = store.close().then(() => {
    isClosed = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(isClosed).toBe(false);
  disk.go();
  await closing;
  const { operations } = disk;
  await completing.catch(() => {});
  expect(disk.operations).toBe(operations);
  expect(disk.openedFiles).toBe(0);
});

it.each([
  ['closed', () => void store.close()],
  ['aborted', (abort: AbortController) => abort.abort(new Error('a piece was revoked'))],
])('places nothing once it is %s', async (_, end) => {
  disk.hold = 'makeLink';
  const abort = new AbortController();
  const completing = store.complete(abort.signal).then(
    () => 'placed',
    () => 'not placed',
  );
  await disk.reached.promise;
  end(abort);
  disk.go();
  expect(await completing).toBe('not placed');
  expect(await disk.readLink(LINK)).toBeUndefined();
  await store.close();
  expect(disk.openedFiles).toBe(0);
});

it('does not begin to complete what is closed', async () => {
  await store.close();
  await expect(store.complete(never)).rejects.toBeDefined();
  expect(await disk.readLink(LINK)).toBeUndefined();
});
