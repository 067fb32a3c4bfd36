import { connect } from 'node:net';
import { layoutOf } from '../../../pieces/layout.ts';
import { mutate } from '../../../sim/mutation.ts';
import { SeededRandom } from '../../../sim/seededRandom.ts';
import { TrueFile } from '../../../sim/trueFile.ts';
import { RelayServer, type ServedSwarm } from '../relayServer.ts';

const PIECE_BYTES = 16_384;
const SWARM = 'a'.repeat(40);
const TOKEN = 'token';
const FILES = [
  { path: 'a/b c', sizeBytes: 3 * PIECE_BYTES + 7 },
  { path: 'empty', sizeBytes: 0 },
  { path: 'z', sizeBytes: PIECE_BYTES },
];
const AT_ONCE = 16;
const MAX_CONNECTIONS = 100;
/** Nothing that is sent takes so long, though a request that is cut off is waited for. */
const TIMEOUT_MS = 20_000;
/** Of the server, and of Node's own parser before it. */
const STATUSES = new Set([200, 204, 206, 400, 401, 404, 405, 408, 413, 414, 416, 417, 431, 503]);

interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Requests to a relay with mistakes in route, ranges, body or anywhere. Answers what went wrong, by seed. */
export async function fuzzRelayRequests(firstSeed: number, inputs: number): Promise<string[]> {
  const file = new TrueFile(layoutOf(FILES, PIECE_BYTES));
  const server = new RelayServer(
    { port: 0, host: '127.0.0.1', maxConnections: MAX_CONNECTIONS },
    { admit: async () => {} },
  );
  const problems: string[] = [];
  server.addSwarm(SWARM, TOKEN, servedSwarm(file));
  const port = await server.start();
  let next = firstSeed;
  const work = async () => {
    while (next < firstSeed + inputs) {
      const seed = next;
      next += 1;
      try {
        judge(await ask(port, requestOf(new SeededRandom(seed), file)), file);
      } catch (error) {
        problems.push(`request to a relay, seed ${seed}: ${String(error)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const { status, body } = (await ask(port, head('GET', '/pieces/1', []))) ?? {};
  if (status !== 200 || body?.equals(file.piece(1)) !== true) problems.push('the relay is broken');
  await server.stop();
  return problems;
}

function servedSwarm(file: TrueFile): ServedSwarm {
  const { layout } = file;
  return {
    ...layout,
    feed: { length: 0, batches: () => [] },
    holds: () => true,
    assembles: () => false,
    // Nothing more comes.
    arrival: (signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    read: async (piece, offset, length) => file.piece(piece).subarray(offset, offset + length),
    follow: () => {
      throw new Error('nothing comes in');
    },
    torrent: () => undefined,
    uploadLimit: () => undefined,
    admit: async () => {},
    uploaded: () => {},
  };
}

function requestOf(random: SeededRandom, { layout }: TrueFile): Buffer {
  const piece = random.below(layout.pieceCount);
  const path = FILES[random.below(FILES.length)]?.path ?? '';
  const edge = () => String(random.below(2 * PIECE_BYTES));
  const range = `bytes=${random.below(4) === 0 ? '' : edge()}-${random.below(4) === 0 ? '' : edge()}`;
  const acceptable = random.bytes(Math.ceil(layout.pieceCount / 8));
  const part = (text: string) =>
    random.below(3) === 0 ? mutate(Buffer.from(text), random).toString('latin1') : text;
  const ranged = [`range: ${part(range)}`];
  const topUp = () => {
    const body = random.below(2) === 0 ? mutate(acceptable, random) : acceptable;
    const length = part(String(body.length));
    return Buffer.concat([head('POST', part('/top-up'), [`content-length: ${length}`]), body]);
  };
  const kinds = [
    () => head('GET', part(`/pieces/${piece}`), ranged),
    () => head('GET', part(`/files/${encodeURIComponent(path)}`), ranged),
    () => head('GET', part(`/feed?from=${edge()}&log=log`), []),
    () => head(part('GET'), part('/torrent'), []),
    topUp,
    topUp,
  ];
  const request = (kinds[random.below(kinds.length)] as () => Buffer)();
  return random.below(3) === 0 ? mutate(request, random) : request;
}

function head(method: string, resource: string, lines: readonly string[]): Buffer {
  const text = [
    `${method} /v1/swarms/${SWARM}${resource} HTTP/1.1`,
    'host: relay',
    `authorization: Bearer ${TOKEN}`,
    'connection: close',
    ...lines,
  ];
  return Buffer.from(`${text.join('\r\n')}\r\n\r\n`, 'latin1');
}

/** Undefined: the connection was closed without an answer. */
function ask(port: number, request: Buffer): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = connect({ port, host: '127.0.0.1' });
    socket.setTimeout(TIMEOUT_MS, () => {
      socket.destroy();
      reject(new Error('it does not end'));
    });
    socket.on('error', () => {});
    socket.on('data', (part) => parts.push(part));
    socket.on('close', () => {
      try {
        resolve(answerIn(Buffer.concat(parts)));
      } catch (error) {
        reject(error);
      }
    });
    // What is cut off is not waited for.
    socket.end(request);
  });
}

/** The first of them, if a mutant was several requests. */
function answerIn(bytes: Buffer): Answer | undefined {
  if (bytes.length === 0) return undefined;
  const end = bytes.indexOf('\r\n\r\n');
  const [first = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]);
  if (end < 0 || !STATUSES.has(status)) throw new Error(`it answers "${first}"`);
  const headers = new Map(
    lines.map((line): [string, string] => {
      const [name = '', value = ''] = line.split(': ');
      return [name.toLowerCase(), value];
    }),
  );
  const rest = bytes.subarray(end + 4);
  const length = Number(headers.get('content-length') ?? rest.length);
  return { status, headers, body: rest.subarray(0, length) };
}

/** What is given away is what was said, as far as it came. */
function judge(answer: Answer | undefined, file: TrueFile): void {
  if (answer === undefined) return;
  const { status, headers, body } = answer;
  const topUp = headers.get('sluice-piece');
  if (topUp !== undefined && !isStartOf(body, file.piece(Number(topUp)))) {
    throw new Error(`piece ${topUp} is another one`);
  }
  if (status !== 206) return;
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get('content-range') ?? '');
  if (match === null) throw new Error('a part of nothing');
  const [from, to, total] = match.slice(1).map(Number) as [number, number, number];
  if (from > to || to >= total) throw new Error(`a part from ${from} to ${to} of ${total}`);
  const pieces = Array.from({ length: file.layout.pieceCount }, (_, piece) => file.piece(piece));
  const files = FILES.map(({ path }) => file.file(path) as Buffer);
  const isPart = (whole: Buffer) =>
    whole.length === total && isStartOf(body, whole.subarray(from, to + 1));
  if (![...pieces, ...files].some(isPart)) throw new Error('these are other bytes');
}

function isStartOf(bytes: Buffer, of: Buffer): boolean {
  return bytes.length <= of.length && bytes.equals(of.subarray(0, bytes.length));
}
