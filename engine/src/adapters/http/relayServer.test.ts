import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RelayServer, type ServedSwarm } from './relayServer.ts';

const PIECE = 65_536;
const SWARM = 'a'.repeat(40);
const authorization = 'Bearer token';

/** Holds its first piece; the other one comes. */
class LimitedSwarm implements ServedSwarm {
  readonly body = randomBytes(2 * PIECE);
  readonly files = [{ path: 'a', sizeBytes: this.body.length }];
  readonly pieceCount = 2;
  readonly feed = { length: 0, batches: () => [] };
  readonly admitted: number[] = [];
  /** What was sent before it was admitted. */
  uploadedBytes = 0;
  limit: number | undefined = 131_072;
  gate: Promise<void> = Promise.resolve();
  lastSignal: AbortSignal | undefined;

  pieceSizeBytes = () => PIECE;
  locate = (piece: number) => ({ fileIndex: 0, offset: piece * PIECE });
  holds = (piece: number) => piece === 0;
  assembles = (piece: number): boolean => piece === 1;
  arrival = async () => {};
  torrent = () => undefined;
  uploadLimit = () => this.limit;

  async read(piece: number, offset: number, length: number): Promise<Uint8Array> {
    const at = piece * PIECE + offset;
    return this.body.subarray(at, at + length);
  }

  async *follow(piece: number, offset: number) {
    yield this.body.subarray(piece * PIECE + offset, (piece + 1) * PIECE);
  }

  async admit(bytes: number, signal: AbortSignal): Promise<void> {
    this.lastSignal = signal;
    await this.gate;
    this.admitted.push(bytes);
  }

  uploaded(bytes: number): void {
    this.uploadedBytes += bytes;
  }
}

let swarm: LimitedSwarm;
let server: RelayServer;
let base: string;
let ofProcess: number[];

beforeEach(async () => {
  swarm = new LimitedSwarm();
  ofProcess = [];
  server = new RelayServer(
    { port: 0, host: '127.0.0.1', maxConnections: 10 },
    { admit: async (bytes) => void ofProcess.push(bytes) },
  );
  server.addSwarm(SWARM, 'token', swarm);
  base = `http://127.0.0.1:${await server.start()}/v1/swarms/${SWARM}`;
});
afterEach(() => server.stop());

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe('what a relay sends by HTTP', () => {
  it.each([
    ['a piece that is here', '/pieces/0', 'GET', PIECE],
    ['a piece that comes', '/pieces/1', 'GET', PIECE],
    ['a file', '/files/a', 'GET', 2 * PIECE],
    ['a top-up', '/top-up', 'POST', PIECE],
  ])('is under the limit of its distribution: %s', async (_, path, method, sizeBytes) => {
    let open = () => {};
    swarm.gate = new Promise((resolve) => {
      open = resolve;
    });
    const body = method === 'POST' ? Uint8Array.of(0b1000_0000) : null;
    const answer = await fetch(base + path, { method, headers: { authorization }, body });
    await new Promise((resolve) => setTimeout(resolve, 30));
    // The head says which piece it will be; its bytes wait, and take nothing of what all share.
    expect([answer.status, swarm.uploadedBytes, ofProcess]).toEqual([200, 0, []]);
    open();
    expect((await answer.arrayBuffer()).byteLength).toBe(sizeBytes);
    expect(sum(swarm.admitted)).toBe(sizeBytes);
    expect(sum(ofProcess)).toBe(sizeBytes);
  });

  it('goes out in parts where many share little', async () => {
    const ask = async () => {
      const answer = await fetch(`${base}/pieces/0`, { headers: { authorization } });
      expect(Buffer.from(await answer.arrayBuffer()).equals(swarm.body.subarray(0, PIECE))).toBe(
        true,
      );
      return swarm.admitted.splice(0);
    };
    expect(await ask()).toEqual(Array(4).fill(16_384));
    swarm.limit = undefined;
    expect(await ask()).toEqual([PIECE]);
  });

  it('is no more top-ups at once than have a turn each second: the next one is told to come again', async () => {
    let open = () => {};
    swarm.gate = new Promise((resolve) => {
      open = resolve;
    });
    const ask = () =>
      fetch(`${base}/top-up`, {
        method: 'POST',
        headers: { authorization },
        body: Uint8Array.of(0b1000_0000),
      });
    const answers = await Promise.all([ask(), ask(), ask(), ask()]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await ask()).status).toBe(204);
    open();
    await Promise.all(answers.map((answer) => answer.arrayBuffer()));
    expect((await ask()).status).toBe(200);
  });

  it('waits for nobody who is gone', async () => {
    swarm.gate = new Promise(() => {});
    const abort = new AbortController();
    const answer = await fetch(`${base}/pieces/0`, {
      headers: { authorization },
      signal: abort.signal,
    });
    expect(answer.status).toBe(200);
    while (swarm.lastSignal === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort();
    const { lastSignal } = swarm;
    await new Promise<void>((resolve) => {
      if (lastSignal.aborted) resolve();
      else lastSignal.addEventListener('abort', () => resolve());
    });
  });
});

describe('a file of which a piece has not begun to come', () => {
  it('goes on when it has, and ends when the distribution is gone', async () => {
    const arrivals: PromiseWithResolvers<void>[] = [];
    swarm.arrival = () => {
      const arrival = Promise.withResolvers<void>();
      arrivals.push(arrival);
      return arrival.promise;
    };
    swarm.assembles = () => false;
    const ask = () =>
      fetch(`${base}/files/a`, { headers: { authorization } })
        .then((answer) => answer.arrayBuffer())
        .then(
          ({ byteLength }) => byteLength,
          () => 'cut off',
        );
    const first = ask();
    await vi.waitFor(() => expect(arrivals).toHaveLength(1));
    swarm.assembles = () => true;
    arrivals.pop()?.resolve();
    expect(await first).toBe(2 * PIECE);
    swarm.assembles = () => false;
    const second = ask();
    await vi.waitFor(() => expect(arrivals).toHaveLength(1));
    arrivals.pop()?.reject(new Error('the transfer was stopped'));
    expect(await second).toBe('cut off');
  });
});

describe('a top-up that names more pieces than there can be', () => {
  const LONG = Buffer.alloc(200_000);

  it.each([
    ['tells its length', { 'content-length': `${LONG.length}` }],
    ['does not tell its length', { 'transfer-encoding': 'chunked' }],
  ])('is told so when it %s', async (_, headers) => {
    const { hostname, port } = new URL(base);
    const asking = request({
      hostname,
      port,
      method: 'POST',
      path: `/v1/swarms/${SWARM}/top-up`,
      headers: { authorization, ...headers },
    });
    const answered = new Promise<number | undefined>((resolve, reject) => {
      asking.once('response', (answer) => resolve(answer.resume().statusCode));
      asking.once('error', reject);
    });
    asking.end(LONG);
    expect(await answered).toBe(413);
  });
});

describe('who comes to a relay by HTTP', () => {
  const connections: Socket[] = [];
  afterEach(() => {
    for (const socket of connections.splice(0)) socket.destroy();
  });

  const port = () => Number(new URL(base).port);

  /** The first line of the answer; undefined: it was closed. */
  function ask(headers: string, localAddress = '127.0.0.1'): Promise<string | undefined> {
    const socket = connect({ port: port(), host: '127.0.0.1', localAddress });
    connections.push(socket);
    socket.on('error', () => {});
    socket.write(`GET /v1/swarms/${SWARM}/pieces/0 HTTP/1.1\r\nhost: relay\r\n${headers}\r\n`);
    return new Promise((resolve) => {
      socket.once('data', (data) => resolve(data.toString('latin1').split('\r\n')[0]));
      socket.once('close', () => resolve(undefined));
    });
  }

  const member = `authorization: ${authorization}\r\n`;

  it('takes no place from members without a token, and from one host not those of all', async () => {
    const strangers = await Promise.all(Array.from({ length: 70 }, () => ask('', '127.0.0.2')));
    expect(strangers.filter((answer) => answer === undefined)).toHaveLength(6);
    expect(strangers.filter((answer) => answer?.includes('401'))).toHaveLength(64);
    expect(await ask(member, '127.0.0.2')).toBeUndefined();
    // Ten may be open at once.
    for (let count = 0; count < 10; count += 1) expect(await ask(member)).toContain('200');
    expect(await ask(member)).toBeUndefined();
    const [first] = connections.slice(-2);
    first?.destroy();
    await vi.waitFor(async () => expect(await ask(member)).toContain('200'));
  });
});
