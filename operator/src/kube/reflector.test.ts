import { describe, expect, it } from 'vitest';
import { FakeClock, settle, steadyRandom } from '../testing/fakeClock.ts';
import { codeOf, type KubeClient, KubeError, type KubeRequest } from './client.ts';
import { type KubeObject, Reflector } from './reflector.ts';

type Line = object | Error;

/** An API server that answers what a test says; a watch stays open until its next line. */
class FakeServer {
  readonly asked: string[] = [];
  version: number | string = 1;
  objects: readonly string[] = ['a'];
  isAway = false;
  /** What it answers to each watch. */
  refuses: Error | undefined;
  #line: ((line: Line) => void) | undefined;

  readonly client = {
    request: async ({ path }: KubeRequest) => {
      this.asked.push(`list ${path}`);
      if (this.isAway) throw new KubeError('Unreachable', 0, 'away');
      const resourceVersion = String(this.version);
      return { metadata: { resourceVersion }, items: this.objects.map(objectOf) };
    },
    lines: (request: KubeRequest) => this.#watch(request),
  } as unknown as KubeClient;

  async send(line: Line): Promise<void> {
    this.#line?.(line);
    await settle();
  }

  async *#watch({ query, signal }: KubeRequest): AsyncGenerator<string> {
    this.asked.push(`watch from ${query?.resourceVersion}`);
    if (this.isAway) throw new KubeError('Unreachable', 0, 'away');
    if (this.refuses !== undefined) throw this.refuses;
    for (;;) {
      const line = await new Promise<Line>((resolve) => {
        this.#line = resolve;
        const aborted = new KubeError('Unreachable', 0, 'aborted');
        signal?.addEventListener('abort', () => resolve(aborted), { once: true });
      });
      if (line instanceof Error) throw line;
      yield JSON.stringify(line);
    }
  }
}

function objectOf(name: string): KubeObject {
  return { metadata: { name, uid: name, resourceVersion: name } };
}

function versionOf(name: string, resourceVersion: string): KubeObject {
  return { metadata: { name, uid: name, resourceVersion } };
}

function bookmark(resourceVersion: string): object {
  return { metadata: { resourceVersion } };
}

/** As the API server says it. */
function tooLargeStatus() {
  const message = 'Timeout: Too large resource version: 100, current: 50';
  const details = { causes: [{ reason: 'ResourceVersionTooLarge', message }] };
  return { code: 504, reason: 'Timeout', message, details, metadata: {} };
}

function tooLarge(): KubeError {
  const { code, message } = tooLargeStatus();
  return new KubeError(codeOf(code, tooLargeStatus()), code, message);
}

async function following({ version = 1 }: { readonly version?: number | string } = {}) {
  const clock = new FakeClock();
  const server = new FakeServer();
  server.version = version;
  const reflector = new Reflector(
    { path: '/things' },
    { client: server.client, clock, random: steadyRandom, onError: () => {} },
  );
  reflector.start();
  await reflector.synced();
  await settle();
  const names = () => [...reflector.list()].map(({ metadata }) => metadata.name);
  return { clock, server, reflector, names };
}

describe('a reflector', () => {
  it.each<[string, Line]>([
    [
      'in a watch',
      { type: 'ERROR', object: { code: 410, message: 'too old resource version', metadata: {} } },
    ],
    ['to a watch', new KubeError('Gone', 410, 'too old resource version')],
  ])('lists again when its version is forgotten, as said %s', async (_how, said) => {
    const { clock, server, names } = await following();
    server.objects = ['b'];
    server.version = 9;
    await server.send(said);
    await clock.advance(1_000);
    expect(names()).toEqual(['b']);
    expect(server.asked).toEqual(['list /things', 'watch from 1', 'list /things', 'watch from 9']);
  });

  it('keeps its copy while the server is away for a minute, and goes on where it was', async () => {
    const { clock, server, names } = await following();
    server.isAway = true;
    await server.send(new KubeError('Unreachable', 0, 'the connection broke'));
    await clock.advance(60_000);
    expect(names()).toEqual(['a']);
    const tries = server.asked.length;
    expect(tries, 'not hammered').toBeLessThan(12);
    server.isAway = false;
    await clock.advance(30_000);
    await server.send({ type: 'ADDED', object: objectOf('b') });
    expect(names()).toEqual(['a', 'b']);
    expect(server.asked.filter((asked) => asked.startsWith('list'))).toHaveLength(1);
  });

  it.each<[string, Line]>([
    ['asked for one to come', tooLarge()],
    ['in a watch, of one to come', { type: 'ERROR', object: tooLargeStatus() }],
    ['with an older bookmark', { type: 'BOOKMARK', object: bookmark('99') }],
    ['with an older object', { type: 'MODIFIED', object: versionOf('a', '9') }],
  ])('lists again when the server has gone back, as it says %s', async (_how, said) => {
    const { clock, server, reflector, names } = await following({ version: 100 });
    server.objects = ['a', 'b'];
    server.version = 50;
    const before = reflector.get('a');
    await server.send(said);
    await clock.advance(1_000);
    expect(names()).toEqual(['a', 'b']);
    expect(server.asked.slice(2)).toEqual(['list /things', 'watch from 50']);
    expect(reflector.get('a'), 'may be another under the same version').not.toBe(before);
  });

  it.each([
    ['grow by a digit', '100', ['101', '1000']],
    ['are longer than a number', '9007199254740993', ['9007199254740994']],
    ['are those of a server that counts in another way', 'x9', ['x1', 'a']],
    ['stay', '100', ['100']],
  ])('goes on where versions %s', async (_how, version, versions) => {
    const { clock, server } = await following({ version });
    for (const each of versions) await server.send({ type: 'BOOKMARK', object: bookmark(each) });
    await clock.advance(10_000);
    expect(server.asked).toHaveLength(2);
  });

  it('lists again when the server refuses one watch after the other, now and then', async () => {
    const { clock, server } = await following();
    server.refuses = new KubeError('ServerError', 504, 'timeout');
    await server.send(server.refuses);
    await clock.advance(60_000);
    const lists = () => server.asked.filter((asked) => asked.startsWith('list'));
    expect(lists()).toHaveLength(2);
    await clock.advance(100 * 60_000);
    expect(lists().length, 'of some 270 watches').toBeGreaterThan(20);
    expect(lists().length).toBeLessThan(40);
  });

  it('asks no server for a list that has too much to do', async () => {
    const { clock, server } = await following();
    server.refuses = new KubeError('TooManyRequests', 429, 'later');
    await server.send(server.refuses);
    await clock.advance(600_000);
    expect(server.asked.filter((asked) => asked.startsWith('list'))).toHaveLength(1);
  });

  it('lists at once when that is wanted in the pause after failures, and pauses again', async () => {
    const { clock, server, reflector, names } = await following();
    server.isAway = true;
    await server.send(new KubeError('Unreachable', 0, 'the connection broke'));
    await clock.advance(60_000);
    server.asked.length = 0;
    let isFresh = false;
    void reflector.refresh().then(() => {
      isFresh = true;
    });
    await settle();
    expect(server.asked).toEqual(['list /things']);
    await clock.advance(10_000);
    expect([server.asked.length, isFresh], 'not hammered').toEqual([1, false]);
    server.isAway = false;
    server.objects = ['b'];
    await reflector.refresh();
    expect([names(), isFresh]).toEqual([['b'], true]);
  });

  it('lists at once when its copy is to be as new as what the server has', async () => {
    const { clock, server, reflector, names } = await following();
    // Of which a watch that has died says nothing.
    server.objects = ['a', 'b'];
    server.version = 5;
    await Promise.all([reflector.refresh(), reflector.refresh()]);
    expect(names()).toEqual(['a', 'b']);
    await settle();
    expect(server.asked.slice(2)).toEqual(['list /things', 'watch from 5']);
    await server.send({ type: 'ADDED', object: versionOf('c', '6') });
    expect(names()).toEqual(['a', 'b', 'c']);
    server.isAway = true;
    let isFresh = false;
    const refreshed = reflector.refresh().then(() => {
      isFresh = true;
    });
    await clock.advance(60_000);
    expect(isFresh).toBe(false);
    expect(server.asked.length, 'not hammered').toBeLessThan(20);
    server.isAway = false;
    await clock.advance(30_000);
    await refreshed;
  });
});
