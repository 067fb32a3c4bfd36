/**
 * Many peers in one process: each an engine of its own that holds all pieces but some, and takes
 * those from the one agent that is measured.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineHost } from '@sluice/engine/session/host.ts';
import type { ListedPeer } from '@sluice/engine/session/peerList.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';
import { layoutOfPattern, type PatternDistribution, PatternStore } from '../patternFile.ts';

export interface PeersOptions {
  readonly distribution: PatternDistribution;
  /** Numbers of the peers that live here. */
  readonly first: number;
  readonly count: number;
  /** Each lacks one piece in so many, others than the next peer. */
  readonly lacksOneIn: number;
}

/** They come to the agent a few at once, as a swarm does. */
const JOIN_EVERY_MS = 5;

const [options] = (await once(process, 'message')) as [PeersOptions];
const { distribution, first, count, lacksOneIn } = options;
const layout = layoutOfPattern(distribution);
const ports: number[] = [];
const transfers: Transfer[] = [];
for (let peer = first; peer < first + count; peer += 1) {
  const host = new EngineHost({ port: 0, role: 'agent' });
  await host.start();
  const store = new PatternStore(distribution, (piece) => (piece + peer) % lacksOneIn === 0);
  const { swarmId, feedKey, swarmSecret } = distribution;
  const transfer = host.addTransfer({
    swarmId,
    role: 'agent',
    layout,
    store,
    feedKey,
    swarmSecret,
  });
  await transfer.start();
  ports.push(host.port);
  transfers.push(transfer);
}
process.send?.(ports);
const [agent] = (await once(process, 'message')) as [ListedPeer];
for (const transfer of transfers) {
  transfer.setPeers([agent]);
  await sleep(JOIN_EVERY_MS);
}
await Promise.all(transfers.map((transfer) => Promise.race([transfer.completed, transfer.failed])));
process.send?.('complete');
