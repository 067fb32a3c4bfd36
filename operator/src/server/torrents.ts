/** The finished set of a distribution as an ordinary torrent, which its relays make. */
import { MAX_TORRENT_BYTES } from '@sluice/engine/torrent/loadTorrent.ts';
import { ApiRefusal } from './refusal.ts';

export interface TorrentSource {
  readonly swarmId: string;
  /** What relays ask of whoever takes something of it. */
  readonly relayToken: string;
  /** Of relays that are connected: host and port of their HTTP. */
  readonly relays: readonly { readonly host: string; readonly port: number }[];
}

const MAX_RELAYS = 3;

/**
 * Of the first relay that has it. Throws an ApiRefusal (503) when none has it yet: a set is hashed
 * once more when somebody asks for its torrent.
 */
export async function fetchTorrent(
  { swarmId, relayToken, relays }: TorrentSource,
  signal: AbortSignal,
): Promise<Uint8Array> {
  for (const { host, port } of relays.slice(0, MAX_RELAYS)) {
    const address = host.includes(':') ? `[${host}]` : host;
    try {
      const answer = await fetch(`http://${address}:${port}/v1/swarms/${swarmId}/torrent`, {
        headers: { authorization: `Bearer ${relayToken}` },
        redirect: 'error',
        signal,
      });
      if (answer.ok && answer.body !== null) return await bounded(answer.body);
      await answer.body?.cancel();
    } catch (error) {
      // Another one may answer.
      if (signal.aborted) throw error;
    }
  }
  const message =
    relays.length === 0
      ? 'no relay serves it now: they go a while after the last node has the files'
      : 'no relay has a torrent of it yet: the set is incomplete, or is being hashed; ask again';
  throw new ApiRefusal(503, 'NoTorrent', message);
}

async function bounded(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.byteLength;
    if (length > MAX_TORRENT_BYTES) throw new Error('the torrent is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
