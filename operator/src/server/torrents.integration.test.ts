/** Torrents by way of the operator, from the HTTP of real relays. */
import { RelayServer, type ServedSwarm } from '@sluice/engine/adapters/http/relayServer.ts';
import { MAX_TORRENT_BYTES } from '@sluice/engine/torrent/loadTorrent.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { fetchTorrent } from './torrents.ts';

const SWARM = 'a'.repeat(40);
const NEVER = new AbortController().signal;

let servers: RelayServer[];

beforeEach(() => {
  servers = [];
});
afterEach(async () => {
  for (const server of servers) await server.stop();
});

async function relay(torrent: () => Uint8Array | undefined) {
  const server = new RelayServer(
    { port: 0, host: '127.0.0.1', maxConnections: 10 },
    { admit: async () => {} },
  );
  servers.push(server);
  const port = await server.start();
  const swarm: Partial<ServedSwarm> = { pieceCount: 1, files: [], torrent };
  server.addSwarm(SWARM, 'secret', swarm as ServedSwarm);
  return { host: '127.0.0.1', port };
}

it('is the one of the first relay that has it', async () => {
  const relays = [
    { host: '127.0.0.1', port: 1 },
    await relay(() => undefined),
    await relay(() => Buffer.from('d4:infode')),
  ];
  const source = { swarmId: SWARM, relayToken: 'secret', relays };
  expect(Buffer.from(await fetchTorrent(source, NEVER)).toString()).toBe('d4:infode');
});

it('is refused with what to do when no relay has it, or none is there', async () => {
  const source = { swarmId: SWARM, relayToken: 'secret', relays: [await relay(() => undefined)] };
  await expect(fetchTorrent(source, NEVER)).rejects.toMatchObject({
    status: 503,
    message: expect.stringContaining('ask again'),
  });
  await expect(fetchTorrent({ ...source, relays: [] }, NEVER)).rejects.toMatchObject({
    status: 503,
    message: expect.stringContaining('no relay serves it now'),
  });
});

it('is not taken when it is longer than any torrent is', async () => {
  const relays = [await relay(() => Buffer.alloc(MAX_TORRENT_BYTES + 1))];
  const source = { swarmId: SWARM, relayToken: 'secret', relays };
  await expect(fetchTorrent(source, NEVER)).rejects.toMatchObject({ code: 'NoTorrent' });
});
