/**
 * One end of bench/loopback.ts, a process of its own: a seed that has the file, or a node that
 * fetches it, over the real engine, sockets and disk.
 *   node bench/lib/loopbackPeer.ts <JSON of PeerSetup>; then messages by IPC
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { FileStore } from '@sluice/engine/adapters/file/fileStore.ts';
import { certify } from '@sluice/engine/feed/certificate.ts';
import { FeedSigner } from '@sluice/engine/feed/feedSigner.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf, pieceLengthFor } from '@sluice/engine/pieces/layout.ts';
import { EngineHost } from '@sluice/engine/session/host.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';

export interface PeerSetup {
  readonly folder: string;
  readonly sizeBytes: number;
  /** Of the seed: where its bytes are. */
  readonly source?: string;
  /** Of a node: what the seed said. */
  readonly seed?: SeedReady;
}

export interface SeedReady {
  readonly port: number;
  /** Base64. */
  readonly feedKey: string;
}

/** What a node answers to 'begin'. */
export interface NodeDone {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly maxMemoryBytes: number;
}

const FILE_NAME = 'file.bin';
const SECRET = Buffer.alloc(32, 7);

const setup = JSON.parse(process.argv[2] ?? '{}') as PeerSetup;
if (setup.seed === undefined) await seed(setup);
else await node(setup, setup.seed);

/** Says SeedReady, and then its processor time whenever it is asked. */
async function seed({ source = '', ...rest }: PeerSetup): Promise<void> {
  const keys = generateFeedKeyPair();
  const { transfer, host, layout, swarmId } = await start(rest, keys.publicKey, 'relay');
  const keyPair = generateFeedKeyPair();
  const extents = [{ first: 0, count: layout.pieceCount }];
  const certificate = certify(keys, swarmId, keyPair.publicKey, extents);
  transfer.setSigner(new FeedSigner({ swarmId, keyPair, certificate }));
  const bytes = await readFile(source);
  for (let piece = 0; piece < layout.pieceCount; piece += 1) {
    const { offset } = layout.locate(piece);
    const assembly = transfer.assemble(piece, 'origin');
    assembly?.write(0, bytes.subarray(offset, offset + layout.pieceSizeBytes(piece)));
    await assembly?.finish();
  }
  await transfer.completed;
  process.on('message', () => process.send?.(cpuSeconds()));
  process.send?.({ port: host.port, feedKey: keys.publicKey.toString('base64') });
}

/** Fetches when it is told to, and says NodeDone. */
async function node(setup: PeerSetup, { port, feedKey }: SeedReady): Promise<void> {
  const { transfer } = await start(setup, Buffer.from(feedKey, 'base64'), 'agent');
  process.on('message', async () => {
    const [beganAtMs, cpuBefore] = [performance.now(), cpuSeconds()];
    transfer.setPeers([{ id: 'seed', role: 'relay', host: '127.0.0.1', port }]);
    await transfer.completed;
    process.send?.({
      seconds: (performance.now() - beganAtMs) / 1000,
      cpuSeconds: cpuSeconds() - cpuBefore,
      maxMemoryBytes: process.resourceUsage().maxRSS * 1024,
    } satisfies NodeDone);
  });
  process.send?.('ready');
}

async function start({ folder, sizeBytes }: PeerSetup, feedKey: Buffer, role: 'relay' | 'agent') {
  const layout = layoutOf([{ path: FILE_NAME, sizeBytes }], pieceLengthFor(sizeBytes));
  const swarmId = swarmIdOf(layout, { uid: 'loopback', epoch: 1, feedKey });
  const host = new EngineHost({ port: 0, role });
  await host.start();
  const transfer: Transfer = host.addTransfer({
    swarmId: swarmId.toString('hex'),
    role,
    layout,
    // Without digests: the whole-file digest is apart.
    store: new FileStore({ folder: path.join(folder, 'version'), layout }),
    feedKey,
    swarmSecret: SECRET,
  });
  transfer.failed.catch((error) => {
    console.error(error);
    process.exit(1);
  });
  await transfer.start();
  return { transfer, host, layout, swarmId };
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
