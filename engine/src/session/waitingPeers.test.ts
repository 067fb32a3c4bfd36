import { expect, it } from 'vitest';
import type { CloseReason } from './closeReason.ts';
import { WaitingPeers } from './waitingPeers.ts';

/** Is served once its swarm is. */
class FakePeer {
  readonly remoteHost: string;
  isSwarmServed = false;
  served = 0;
  readonly closed: CloseReason[] = [];

  constructor(remoteHost = '10.0.0.1') {
    this.remoteHost = remoteHost;
  }

  serve(): boolean {
    if (this.isSwarmServed) this.served += 1;
    return this.isSwarmServed;
  }

  close(reason: CloseReason): void {
    this.closed.push(reason);
  }
}

function waiting(count: number) {
  const peers = new WaitingPeers();
  const all = Array.from({ length: count }, () => new FakePeer());
  for (const peer of all) peers.add(peer);
  return { peers, all };
}

it('lets 208 wait, and closes who has waited longest for each one more', () => {
  const { all } = waiting(210);
  const closed = all.map((peer) => peer.closed);
  expect(closed.slice(0, 2)).toEqual([['UnknownSwarm'], ['UnknownSwarm']]);
  expect(closed.slice(2).flat()).toEqual([]);
});

it('closes one of the host that has most of them', () => {
  const { peers, all } = waiting(100);
  const others = Array.from({ length: 110 }, () => new FakePeer('10.0.0.2'));
  const fromThird = new FakePeer('10.0.0.3');
  peers.add(fromThird);
  for (const peer of others) peers.add(peer);
  const closed = others.flatMap((peer, at) => (peer.closed.length > 0 ? [at] : []));
  expect(closed).toEqual([0, 1, 2]);
  expect([...all, fromThird].flatMap((peer) => peer.closed)).toEqual([]);
});

it('has room again when one has left', () => {
  const { peers, all } = waiting(208);
  peers.delete(all[10] as FakePeer);
  peers.add(new FakePeer());
  expect(all.flatMap(({ closed }) => closed)).toEqual([]);
});

it('lets those go on whose swarm is served now, once, and the others wait', () => {
  const { peers, all } = waiting(208);
  const lucky = all.slice(0, 3);
  for (const peer of lucky) peer.isSwarmServed = true;
  peers.serve();
  peers.serve();
  expect(all.map(({ served }) => served)).toEqual(all.map((_, at) => (at < 3 ? 1 : 0)));
  // Who is served waits no more: there is room for three, and the fourth takes the oldest's place.
  for (let count = 0; count < 4; count += 1) peers.add(new FakePeer());
  expect(all.flatMap(({ closed }, at) => (closed.length > 0 ? [at] : []))).toEqual([3]);
});
