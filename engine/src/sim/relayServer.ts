import { encodeBatchList, FEED_LOG_HEADER, FEED_NEXT_HEADER } from '../feed/batchList.ts';
import type { Transfer } from '../session/transfer.ts';
import { chooseTopUp } from '../topup/chooseTopUp.ts';
import type { SeededRandom } from './seededRandom.ts';
import type { HttpServer } from './simulatedHttp.ts';
import { inChunks } from './simulatedOrigin.ts';

/** Top-up and feed over HTTP, as a relay serves them. `swarmId` in hex. */
export function relayServer(swarmId: string, transfer: Transfer, random: SeededRandom): HttpServer {
  const sent = new Uint32Array(transfer.pieceCount);
  return ({ path, body }) => {
    if (!path.includes(swarmId)) return { status: 404, headers: {}, body: [] };
    if (path.includes('/feed?')) {
      const from = Number(new URL(path, 'http://relay').searchParams.get('from') ?? 0);
      const batches = [...transfer.feed.batches(from)];
      const headers = {
        [FEED_LOG_HEADER]: 'log',
        [FEED_NEXT_HEADER]: String(from + batches.length),
      };
      return { status: 200, headers, body: [encodeBatchList(batches)] };
    }
    const piece = chooseTopUp(body, {
      pieceCount: transfer.pieceCount,
      sent,
      holds: (each) => transfer.holds(each),
      assembles: (each) => transfer.assembles(each),
      random: () => random.next(),
    });
    if (piece === undefined) return { status: 204, headers: {}, body: [] };
    sent[piece] = (sent[piece] ?? 0) + 1;
    const sizeBytes = transfer.pieceSizeBytes(piece);
    const headers = { 'sluice-piece': String(piece), 'content-length': String(sizeBytes) };
    return { status: 200, headers, body: pieceBody(transfer, piece, sizeBytes) };
  };
}

async function* pieceBody(transfer: Transfer, piece: number, sizeBytes: number) {
  if (transfer.holds(piece)) yield* inChunks(await transfer.read(piece, 0, sizeBytes));
  else yield* transfer.follow(piece, 0, new AbortController().signal);
}
