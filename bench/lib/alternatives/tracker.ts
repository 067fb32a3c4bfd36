/** A BitTorrent tracker over HTTP (BEP 3, 23) that names every member of the one swarm there is. */
import { createServer } from 'node:http';
import type { Host } from '../links.ts';
import { BRIDGE_ADDRESS } from '../namespaces.ts';

const PORT = 6969;
export const PEER_PORT = 6881;
export const TRACKER_URL = `http://${BRIDGE_ADDRESS}:${PORT}/announce`;

export interface Tracker {
  stop(): Promise<void>;
}

export async function startTracker(members: () => readonly Host[]): Promise<Tracker> {
  const server = createServer((request, response) => {
    const asker = request.socket.remoteAddress;
    response.end(trackerAnswer(members().filter(({ address }) => address !== asker)));
  });
  await new Promise<void>((resolve) => server.listen(PORT, BRIDGE_ADDRESS, resolve));
  return {
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Bencoded; asked again after a minute. PURE. */
export function trackerAnswer(peers: readonly Pick<Host, 'address'>[]): Buffer {
  const compact = Buffer.from(
    peers.flatMap(({ address }) => [
      ...address.split('.').map(Number),
      PEER_PORT >> 8,
      PEER_PORT & 0xff,
    ]),
  );
  return Buffer.concat([
    Buffer.from(`d8:intervali60e12:min intervali60e5:peers${compact.length}:`),
    compact,
    Buffer.from('e'),
  ]);
}
