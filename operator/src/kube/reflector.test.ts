import { describe, expect, it } from 'vitest';
import { FakeClock, settle, steadyRandom } from '../testing/fakeClock.ts';
import { type KubeClient, KubeError, type KubeRequest } from './client.ts';
import { type KubeObject, Reflector } from './reflector.ts';

type Line = object | Error;

/** An API server that answers what a test says; a watch stays open until its next line. */
class FakeServer {
  readonly asked: string[] = [];
  version = 1;
  objects: readonly string[] = ['a'];
  isAway = false;
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

  async *#watch({ query }: KubeRequest): AsyncGenerator<string> {
    this.asked.push(`watch from ${query?.resourceVersion}`);
    if (this.isAway) throw new KubeError('Unreachable', 0, 'away');
    for (;;) {
      const line = await new Promise<Line>((resolve) => {
        this.#line = resolve;
      });
      if (line instanceof Error) throw line;
      yield JSON.stringify(line);
    }
  }
}

function objectOf(name: string): KubeObject {
  return { metadata: { name, uid: name, resourceVersion: name } };
}

async function following() {
  const clock = new FakeClock();
  const server = new FakeServer();
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
});
