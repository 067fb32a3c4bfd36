/** A BitTorrent tracker over HTTP (BEP 3, 23) on loopback that names one peer to everybody. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  decodeBencoded,
  encodeBytes,
  encodeDictionary,
  encodeInteger,
} from '@sluice/engine/torrent/bencoding.ts';

export interface LocalTracker {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startTracker(peerPort: number): Promise<LocalTracker> {
  const answer = encodeDictionary([
    ['interval', encodeInteger(60)],
    ['min interval', encodeInteger(60)],
    ['peers', encodeBytes(Buffer.of(127, 0, 0, 1, peerPort >> 8, peerPort & 0xff))],
  ]);
  const server = createServer((_request, response) => response.end(answer));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/announce`,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The same torrent, whose tracker is at `url`. */
export function withTracker(torrent: Uint8Array, url: string): Buffer {
  return encodeDictionary([...entriesWithout(torrent, 'announce'), ['announce', encodeBytes(url)]]);
}

/** The same torrent, whose layers are to be asked of peers. */
export function withoutLayers(torrent: Uint8Array): Buffer {
  return encodeDictionary(entriesWithout(torrent, 'piece layers'));
}

function entriesWithout(torrent: Uint8Array, key: string): (readonly [Buffer, Buffer])[] {
  const top = decodeBencoded(torrent);
  if (top.kind !== 'dictionary') throw new Error('this is no torrent');
  const others = [...top.entries].filter(([each]) => each !== key);
  return others.map(([each, { raw }]) => [Buffer.from(each, 'latin1'), raw]);
}
