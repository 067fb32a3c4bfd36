import { encodeBatchList, FEED_LOG_HEADER, FEED_NEXT_HEADER } from '../feed/batchList.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import { type HttpSource, HttpSourceError, type RangeRequest } from '../ports/httpSource.ts';
import type { PieceAssembly } from '../session/pullPlan.ts';
import { RelayDownloads, type RelayDownloadsTarget } from '../session/relayDownloads.ts';
import { type FeedTarget, RelayFeed } from '../session/relayFeed.ts';
import { mutate } from './mutation.ts';
import { SeededRandom } from './seededRandom.ts';
import { VirtualClock } from './virtualClock.ts';

const PIECES = 20;
const PIECE_BYTES = 600;
const CHUNK_BYTES = 100;
const OPTIONS = { swarmId: 'a'.repeat(40), relayToken: 'token' };
const RELAYS = [{ id: 'relay', host: 'relay', httpPort: 8081 }];
/** Until a poll of the feed is over. */
const POLLED_MS = 1_000;

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
}

/**
 * Each kind of answer, and of how many something is taken at least, mistakes or not: else nothing
 * would be judged. They are about twice as many.
 */
const KINDS = [
  { name: 'top-up', answer: answerTopUp, takenShare: 0.13 },
  { name: 'feed', answer: answerFeed, takenShare: 0.28 },
];
/** Fewer are repeated to be looked at. */
const MANY_INPUTS = 1_000;

/** What relays answer, with mistakes in status, headers and body. Answers what went wrong, by seed. */
export async function fuzzRelayAnswers(firstSeed: number, inputs: number): Promise<string[]> {
  const problems: string[] = [];
  const taken = KINDS.map(() => 0);
  for (let seed = firstSeed; seed < firstSeed + inputs; seed += 1) {
    const at = seed % KINDS.length;
    try {
      if (await KINDS[at]?.answer(new SeededRandom(seed))) taken[at] = (taken[at] ?? 0) + 1;
    } catch (error) {
      problems.push(`relay's answer, seed ${seed}: ${String(error)}`);
    }
  }
  for (const [at, { name, takenShare }] of KINDS.entries()) {
    const share = ((taken[at] ?? 0) * KINDS.length) / inputs;
    if (inputs >= MANY_INPUTS && share < takenShare) {
      problems.push(`relays' answers: something was taken of ${share} of those to ${name}`);
    }
  }
  return problems;
}

/** Every request is answered so, within the bounds that the client keeps. */
function sourceOf(answer: Answer): HttpSource {
  const request = async ({ onHead, onChunk }: RangeRequest) => {
    const head = {
      status: answer.status,
      headers: answer.headers,
      headerBytes: 0,
      timeToHeadMs: 0,
    };
    const refused = (cause: unknown) =>
      new HttpSourceError('AnswerRefused', 'refused', { wireBytes: 0, exact: true, cause });
    // As the client holds a body to its length; one without a length ends with its connection.
    const length = Number(answer.headers['content-length'] ?? answer.body.length) || 0;
    const body = answer.body.subarray(0, length);
    try {
      onHead(head);
      for (let at = 0; at < body.length; at += CHUNK_BYTES) {
        await onChunk(body.subarray(at, at + CHUNK_BYTES));
      }
    } catch (cause) {
      throw refused(cause);
    }
    if (body.length < length) {
      throw new HttpSourceError('ConnectionLost', 'cut off', { wireBytes: 0, exact: true });
    }
    return { head, bodyBytes: body.length, wireBytes: body.length };
  };
  const connection = { request, close: async () => {}, unprovenEnds: 0, unaskedBytes: 0 };
  return { connection: () => connection };
}

function spoil(answer: Answer, random: SeededRandom): Answer {
  const text = (value: string) => mutate(Buffer.from(value), random).toString('latin1');
  switch (random.below(4)) {
    case 0:
      answer.status = random.below(600);
      return answer;
    case 1:
      answer.body = mutate(answer.body, random);
      return answer;
    default: {
      const names = Object.keys(answer.headers);
      const name = random.pick(names);
      if (random.below(5) === 0) delete answer.headers[name];
      else answer.headers[name] = text(answer.headers[name] as string);
      return answer;
    }
  }
}

/**
 * Only what was acceptable is begun, what is written of it are the bytes that came, and it is finished
 * when all of them are. Answers whether one was.
 */
async function answerTopUp(random: SeededRandom): Promise<boolean> {
  const acceptable = new Bitfield(PIECES);
  for (let piece = 0; piece < PIECES; piece += 1) if (random.below(2) === 0) acceptable.add(piece);
  if (acceptable.count === 0) acceptable.add(0);
  const pieces = [...acceptable.pieces()];
  const piece = random.pick(pieces);
  const headers = { 'sluice-piece': String(piece), 'content-length': String(PIECE_BYTES) };
  const answer = spoil({ status: 200, headers, body: random.bytes(PIECE_BYTES) }, random);
  const wrong: string[] = [];
  let openBytes = 0;
  let finished = 0;
  const assemble = (begun: number): PieceAssembly | undefined => {
    if (!acceptable.has(begun)) wrong.push(`began piece ${begun}`);
    const written: Uint8Array[] = [];
    let writtenBytes = 0;
    return {
      piece: begun,
      sizeBytes: PIECE_BYTES,
      missing: () => [],
      write: (offset, chunk) => {
        if (offset !== writtenBytes) wrong.push(`wrote at ${offset} behind ${writtenBytes} bytes`);
        writtenBytes += chunk.byteLength;
        if (writtenBytes > PIECE_BYTES) wrong.push('wrote beyond the end');
        written.push(Uint8Array.from(chunk));
      },
      // What it throws is the store's matter, so it is said aside.
      finish: async () => {
        finished += 1;
        if (writtenBytes !== PIECE_BYTES) wrong.push(`finished with ${writtenBytes} bytes`);
        const came = answer.body.subarray(0, PIECE_BYTES);
        if (!Buffer.concat(written).equals(came)) wrong.push('wrote other bytes than came');
        return 'mismatch';
      },
      abort: () => {},
    };
  };
  const target: RelayDownloadsTarget = {
    acceptablePieces: () => acceptable.bytes,
    pieceSizeBytes: () => PIECE_BYTES,
    assemble,
    admitDownload: (bytes) => {
      openBytes += bytes;
      return true;
    },
    refundDownload: (bytes) => {
      openBytes -= bytes;
    },
  };
  const dependencies = {
    http: sourceOf(answer),
    clock: new VirtualClock(),
    target,
    onEnd: () => {},
  };
  const downloads = new RelayDownloads(OPTIONS, dependencies);
  downloads.setRelays(RELAYS);
  downloads.fetch(1);
  await downloads.stop();
  if (openBytes < 0 || openBytes > PIECE_BYTES) wrong.push(`${openBytes} bytes are counted`);
  if (wrong.length > 0) throw new Error(wrong.join('; '));
  return finished > 0;
}

/**
 * Batches are passed on as they are or not at all, and the next poll begins at a place that is one.
 * Answers whether there were any.
 */
async function answerFeed(random: SeededRandom): Promise<boolean> {
  const batches = Array.from({ length: 1 + random.below(4) }, () => random.bytes(80));
  const headers = { [FEED_LOG_HEADER]: 'log', [FEED_NEXT_HEADER]: String(batches.length) };
  const right = encodeBatchList(batches);
  const answer = spoil({ status: 200, headers, body: right }, random);
  const asked: URL[] = [];
  const passedOn: Uint8Array[] = [];
  const source = sourceOf(answer);
  const http: HttpSource = {
    connection: (url) => {
      const connection = source.connection(url);
      return {
        ...connection,
        request: (request, signal) => {
          asked.push(request.url ?? url);
          return connection.request(request, signal);
        },
      };
    },
  };
  const target: FeedTarget = {
    hasUnnamedPieces: () => true,
    acceptBatch: (batch) => {
      passedOn.push(batch);
      return false;
    },
    receivedBytes: () => ({ bitTorrent: 0, relayHttp: 0 }),
    broke: (error) => {
      throw error;
    },
  };
  const clock = new VirtualClock();
  const feed = new RelayFeed(OPTIONS, { clock, http, target });
  feed.setRelays(RELAYS);
  feed.start();
  await clock.run(() => false, POLLED_MS);
  await feed.stop();
  for (const url of asked) {
    const from = url.searchParams.get('from') ?? '';
    if (!/^\d{1,16}$/.test(from)) throw new Error(`it asks from ${from}`);
  }
  if (asked.length < 2) throw new Error('it does not go on');
  const isRight = answer.status === 200 && answer.body.equals(right);
  if (isRight && passedOn.length === 0) throw new Error('it passes nothing on');
  if (passedOn.length === 0) return false;
  if (answer.status !== 200) throw new Error(`it takes batches from an answer ${answer.status}`);
  // Of each answer all.
  const all = Buffer.concat(asked.map(() => answer.body));
  if (!encodeBatchList(passedOn).equals(all)) throw new Error('it passes on something else');
  return true;
}
