/** How connections end, and whether the server is known to have ended them, too. */
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { HttpConnection, RangeRequest } from '../../ports/httpSource.ts';
import { DEFAULT_HTTP_OPTIONS, NodeHttpSource } from './nodeHttpSource.ts';

const OPTIONS = {
  ...DEFAULT_HTTP_OPTIONS,
  connectTimeoutMs: 200,
  idleTimeoutMs: 200,
  closeTimeoutMs: 200,
};
const NEVER = new AbortController().signal;
const BODY_BYTES = 100_000;
const ASK: RangeRequest = {
  headers: {},
  range: { start: 0, end: BODY_BYTES },
  onHead: () => {},
  onChunk: () => {},
};
const headOf = (length: number, more = '') =>
  `HTTP/1.1 206 Partial Content\r\nContent-Length: ${length}\r\n${more}\r\n`;
const ANSWER = headOf(BODY_BYTES) + 'x'.repeat(BODY_BYTES);

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** Runs for each request; `endsToo`: it answers an end with its own, as servers do. */
type Serve = (socket: Socket, count: number) => void;

interface Rig {
  readonly connection: HttpConnection;
  readonly sockets: Set<Socket>;
  accepted(): number;
}

async function rig(serve: Serve, { endsToo = true, host = '127.0.0.1' } = {}): Promise<Rig> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  let count = 0;
  const server: Server = createServer({ allowHalfOpen: !endsToo }, (socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    socket.on('data', () => {
      count += 1;
      serve(socket, count);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const url = new URL(`http://${host}:${port}/`);
  const connection = new NodeHttpSource(OPTIONS).connection(url);
  stops.push(async () => {
    await connection.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { connection, sockets, accepted: () => accepted };
}

const answering: Serve = (socket) => socket.write(ANSWER);
const silent: Serve = () => {};

describe('the end of a connection', () => {
  it('is proven when the server answers it with its own', async () => {
    const { connection, sockets } = await rig(answering);
    await connection.request(ASK, NEVER);
    await connection.close();
    expect(connection.unprovenEnds).toBe(0);
    await sleep(20);
    expect(sockets.size).toBe(0);
  });

  it('is not proven when the server does not', async () => {
    const { connection } = await rig(answering, { endsToo: false });
    await connection.request(ASK, NEVER);
    await connection.close();
    expect(connection.unprovenEnds).toBe(1);
  });

  it.each<[string, Serve]>([
    ['ends it before an answer', (socket) => socket.end()],
    ['ends it in an answer', (socket) => socket.end(ANSWER.slice(0, 1_000))],
    ['resets it', (socket) => socket.resetAndDestroy()],
    ['says nothing, and then answers our end', silent],
    ['stops in an answer, and then answers our end', (socket) => socket.write(ANSWER.slice(0, 99))],
    ['refuses, with a page', (socket) => socket.write(`${headOf(3)}no\n`)],
  ])('is proven where the server %s', async (_name, serve) => {
    const { connection, sockets } = await rig(serve);
    const refusing = {
      ...ASK,
      onHead: () => {
        throw new Error('not that');
      },
    };
    await expect(connection.request(refusing, NEVER)).rejects.toThrow();
    expect(connection.unprovenEnds).toBe(0);
    await sleep(20);
    expect(sockets.size).toBe(0);
  });

  it.each<[string, Serve, boolean]>([
    ['says nothing, and nothing to our end', silent, false],
    [
      'sends a page that is too long to be read to its end',
      (socket) => socket.write(headOf(1e9) + 'x'.repeat(1e6)),
      true,
    ],
    ['speaks no HTTP', (socket) => socket.write('220 smtp.example.com ESMTP\r\n'), true],
  ])('is not proven where the server %s', async (_name, serve, endsToo) => {
    const { connection } = await rig(serve, { endsToo });
    const refusing = {
      ...ASK,
      onHead: () => {
        throw new Error('not that');
      },
    };
    await expect(connection.request(refusing, NEVER)).rejects.toMatchObject({ exact: false });
    expect(connection.unprovenEnds).toBe(1);
  });

  it('is proven where nobody was reached', async () => {
    const { connection } = await rig(silent, { host: 'name.invalid' });
    await expect(connection.request(ASK, NEVER)).rejects.toMatchObject({ code: 'ConnectFailed' });
    expect(connection.unprovenEnds).toBe(0);
    const refused = new NodeHttpSource(OPTIONS).connection(new URL('http://127.0.0.1:1/'));
    await expect(refused.request(ASK, NEVER)).rejects.toMatchObject({ code: 'ConnectFailed' });
    expect(refused.unprovenEnds).toBe(0);
  });

  it('in an answer waits for the rest of it, which is counted and not handed on', async () => {
    const { connection } = await rig((socket) => {
      socket.write(ANSWER.slice(0, 10_000));
      setTimeout(() => socket.write(ANSWER.slice(10_000)), 50);
    });
    const abort = new AbortController();
    let received = 0;
    const asked = connection.request(
      {
        ...ASK,
        onChunk: (chunk) => {
          received += chunk.byteLength;
          abort.abort();
        },
      },
      abort.signal,
    );
    await expect(asked).rejects.toMatchObject({ code: 'Aborted', exact: true });
    expect(connection.unprovenEnds).toBe(0);
    expect(received).toBeLessThan(11_000);
  });

  it('is waited for when the server says that it closes, before the next one is opened', async () => {
    const { connection, sockets, accepted } = await rig((socket) => {
      socket.write(`${headOf(3, 'Connection: close\r\n')}yes`);
      setTimeout(() => socket.end(), 30);
    });
    for (let at = 0; at < 3; at += 1) {
      await connection.request(ASK, NEVER);
      expect(sockets.size).toBeLessThanOrEqual(1);
    }
    await connection.close();
    expect(accepted()).toBe(3);
    expect(connection.unprovenEnds).toBe(0);
  });

  it('is the server to decide when it names a time-out', async () => {
    const { connection, accepted } = await rig((socket) =>
      socket.write(`${headOf(3, 'Keep-Alive: timeout=1\r\n')}yes`),
    );
    await connection.request(ASK, NEVER);
    await sleep(1_300);
    await connection.request(ASK, NEVER);
    expect(accepted()).toBe(1);
  });

  it('tells what came that belongs to no answer', async () => {
    const { connection } = await rig((socket) => {
      socket.write(`${headOf(3)}yes`);
      setTimeout(() => socket.write('and more'), 30);
    });
    await connection.request(ASK, NEVER);
    await sleep(60);
    await connection.close();
    expect(connection.unaskedBytes).toBe('and more'.length);
  });

  it('without a word while it is idle is told before another one is opened', async () => {
    const { connection, accepted } = await rig(
      (socket) => {
        socket.write(`${headOf(3)}yes`);
        setTimeout(() => socket.write('and more'), 30);
      },
      { endsToo: false },
    );
    await connection.request(ASK, NEVER);
    await sleep(60);
    await expect(connection.request(ASK, NEVER)).rejects.toMatchObject({
      code: 'ConnectionLost',
      stale: true,
      wireBytes: 'and more'.length,
    });
    expect(connection.unprovenEnds).toBe(1);
    expect(accepted()).toBe(1);
  });
});
