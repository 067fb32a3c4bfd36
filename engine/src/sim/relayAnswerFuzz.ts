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

/** What relays answer, with mistakes in status, headers and body. Answers what went wrong, by seed. */
export async function fuzzRelayAnswers(firstSeed: number, inputs: number): Promise<string[]> {
  const problems: string[] = [];
  for (let seed = firstSeed; seed < firstSeed + inputs; seed += 1) {
    const random = new SeededRandom(seed);
    try {
      if (seed % 2 === 0) await answerTopUp(random);
      else await answerFeed(random);
    } catch (error) {
      problems.push(`relay's answer, seed ${seed}: ${String(error)}`);
    }
  }
  return problems;
}

/** One request is answered, within the bounds that the client keeps; others never are. */
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
    try {
      onHead(head);
      for (let at = 0; at < answer.body.length; at += CHUNK_BYTES) {
        await onChunk(answer.body.subarray(at, at + CHUNK_BYTES));
      }
    } catch (cause) {
      throw refused(cause);
    }
    return { head, bodyBytes: answer.body.length, wireBytes: answer.body.length };
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
      const name = names[random.below(names.length)] as string;
      if (random.below(5) === 0) delete answer.headers[name];
      else answer.headers[name] = text(answer.headers[name] as string);
      return answer;
    }
  }
}

/** Only what was acceptable is begun, nothing is written beyond it, and no other length is taken for it. */
async function answerTopUp(random: SeededRandom): Promise<void> {
  const acceptable = new Bitfield(PIECES);
  for (let piece = 0; piece < PIECES; piece += 1) if (random.below(2) === 0) acceptable.add(piece);
  if (acceptable.count === 0) acceptable.add(0);
  const pieces = [...acceptable.pieces()];
  const piece = pieces[random.below(pieces.length)] as number;
  const headers = { 'sluice-piece': String(piece), 'content-length': String(PIECE_BYTES) };
  const answer = spoil({ status: 200, headers, body: random.bytes(PIECE_BYTES) }, random);
  // As the client holds a body to its length.
  answer.body = answer.body.subarray(0, Number(answer.headers['content-length']) || 0);
  const wrong: string[] = [];
  let openBytes = 0;
  const assemble = (begun: number): PieceAssembly | undefined => {
    if (!acceptable.has(begun)) wrong.push(`began piece ${begun}`);
    let writtenBytes = 0;
    return {
      piece: begun,
      sizeBytes: PIECE_BYTES,
      missing: () => [],
      write: (offset, chunk) => {
        writtenBytes += chunk.byteLength;
        if (offset + chunk.byteLength > PIECE_BYTES) wrong.push('wrote beyond the end');
      },
      finish: async () => {
        // Ours is a broken assembly when it is not whole: it is said here, and there by an error.
        if (writtenBytes < PIECE_BYTES) throw new Error('it is not whole');
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
}

/** Batches are passed on as they are or not at all, and the next poll begins at a place that is one. */
async function answerFeed(random: SeededRandom): Promise<void> {
  const batches = Array.from({ length: 1 + random.below(4) }, () => random.bytes(80));
  const headers = { [FEED_LOG_HEADER]: 'log', [FEED_NEXT_HEADER]: String(batches.length) };
  const answer = spoil({ status: 200, headers, body: encodeBatchList(batches) }, random);
  const asked: URL[] = [];
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
    acceptBatch: () => false,
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
}
