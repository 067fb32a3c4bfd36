import { connect } from 'node:net';
import { encodeBatchList, FEED_LOG_HEADER } from '../../../feed/batchList.ts';
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
const BATCHES = [10, 200, 3].map((length) => Buffer.alloc(length, length));
const AT_ONCE = 16;
const MAX_CONNECTIONS = 100;
/** Nothing that is sent takes so long, though a request that is cut off is waited for. */
const TIMEOUT_MS = 20_000;
/** Of the server, and of Node's own parser before it. */
const STATUSES = new Set([200, 204, 206, 400, 401, 404, 405, 408, 413, 414, 416, 417, 431, 503]);
/**
 * Of how many requests something is given at least, mistakes or not: else nothing would be judged.
 * They are about twice as many.
 */
const GIVEN_SHARES = new Map([
  [200, 0.12],
  [206, 0.023],
]);
/** Fewer are repeated to be looked at. */
const MANY_INPUTS = 1_000;
const END_OF_HEAD = '\r\n\r\n';
/** The first line of a request for a piece or a file that is there. */
const NAMED =
  /^GET \/v1\/swarms\/a{40}\/(?:pieces\/(\d)|files\/(a%2Fb%20c|empty|z)) HTTP\/1\.1\r\n/;

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
  const counts = new Map<number | undefined, number>();
  let next = firstSeed;
  const work = async () => {
    while (next < firstSeed + inputs) {
      const seed = next;
      next += 1;
      try {
        const request = requestOf(new SeededRandom(seed), file);
        const answer = await ask(port, request);
        counts.set(answer?.status, (counts.get(answer?.status) ?? 0) + 1);
        if (answer !== undefined) judge(answer, request, file);
      } catch (error) {
        problems.push(`request to a relay, seed ${seed}: ${String(error)}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const { status, body } = (await ask(port, head('GET', '/pieces/1', []))) ?? {};
  if (status !== 200 || body?.equals(file.piece(1)) !== true) problems.push('the relay is broken');
  await server.stop();
  for (const [given, least] of GIVEN_SHARES) {
    const share = (counts.get(given) ?? 0) / inputs;
    if (inputs >= MANY_INPUTS && share < least) {
      problems.push(`requests to a relay: ${share} of them are answered by ${given}`);
    }
  }
  return problems;
}

function servedSwarm(file: TrueFile): ServedSwarm {
  const { layout } = file;
  return {
    ...layout,
    feed: { length: BATCHES.length, batches: (from) => BATCHES.slice(from) },
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
  const { path } = random.pick(FILES);
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
  const request = random.pick(kinds)();
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
  return Buffer.from(`${text.join('\r\n')}${END_OF_HEAD}`, 'latin1');
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
  const end = bytes.indexOf(END_OF_HEAD);
  const [first = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]);
  if (end < 0 || !STATUSES.has(status)) throw new Error(`it answers "${first}"`);
  const headers = new Map(
    lines.map((line): [string, string] => {
      const [name = '', value = ''] = line.split(': ');
      return [name.toLowerCase(), value];
    }),
  );
  const rest = bytes.subarray(end + END_OF_HEAD.length);
  const length = Number(headers.get('content-length') ?? rest.length);
  return { status, headers, body: rest.subarray(0, length) };
}

/** What is given away is what was asked for, and all of it where one request came. */
function judge(answer: Answer, request: Buffer, file: TrueFile): void {
  const { status, headers, body } = answer;
  if (status !== 200 && status !== 206) return;
  const length = Number(headers.get('content-length'));
  // What is wrong behind a request ends the connection, and with it what was being answered.
  if (body.length !== length && isOne(request)) throw new Error(`${length} bytes are cut off`);
  const isOwed = (bytes: Buffer) =>
    bytes.length === length && body.equals(bytes.subarray(0, body.length));
  if (!owed(answer, request, file).some(isOwed)) throw new Error('these are other bytes');
}

/** Whether it is a request without a body, and nothing else. */
function isOne(request: Buffer): boolean {
  return (
    request.indexOf('GET ') === 0 &&
    request.indexOf(END_OF_HEAD) === request.length - END_OF_HEAD.length
  );
}

/** One of them is the right body. */
function owed({ status, headers }: Answer, request: Buffer, file: TrueFile): readonly Buffer[] {
  // Of another log than was asked for, and so from its start.
  if (headers.has(FEED_LOG_HEADER)) return [encodeBatchList(BATCHES)];
  const topUp = headers.get('sluice-piece');
  if (topUp !== undefined) return [file.piece(Number(topUp))];
  const named = namedBy(request, file);
  if (status === 200) return named;
  const { from, to, total } = partOf(headers);
  return named.filter(({ length }) => length === total).map((whole) => whole.subarray(from, to));
}

function partOf(headers: Answer['headers']) {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get('content-range') ?? '');
  if (match === null) throw new Error('a part of nothing');
  const [from, last, total] = match.slice(1).map(Number) as [number, number, number];
  if (from > last || last >= total) throw new Error(`a part from ${from} to ${last} of ${total}`);
  return { from, to: last + 1, total };
}

/** What the request may mean: where its first line is whole one piece or file, else any. */
function namedBy(request: Buffer, file: TrueFile): readonly Buffer[] {
  const [, piece, path] = NAMED.exec(request.toString('latin1')) ?? [];
  if (piece !== undefined) return [file.piece(Number(piece))];
  if (path !== undefined) return [file.file(decodeURIComponent(path)) as Buffer];
  const pieces = Array.from({ length: file.layout.pieceCount }, (_, at) => file.piece(at));
  return [...pieces, ...FILES.map((each) => file.file(each.path) as Buffer)];
}
