import { expect, it } from 'vitest';
import { NodeBook } from '../../server/nodeBook.ts';
import { aPlanOf, aRecord } from '../../testing/objects.ts';
import { Memory } from './memory.ts';

const received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };

it('nothing moves while nodes only take turns', () => {
  const names = Array.from({ length: 20 }, (_, at) => `n${at}`);
  const nodes = names.map((name) => ({ name, domain: 'a', uid: `uid-of-${name}` }));
  const book = new NodeBook(aPlanOf(aRecord(), { nodes, maxParallelNodes: 1 }));
  book.recall([], 0);
  const agents = new Map(names.map((name) => [name, 'connected' as const]));
  const memory = new Memory('u', aRecord(), 0);
  const since = new Map<string, number>();
  const shown = new Set<string>();
  const lookAt = (nowMs: number, verifiedBytes: number) => {
    const hasTurn = book.turns(agents, nowMs);
    for (const name of names) {
      if (!hasTurn(name)) since.delete(name);
      else if (!since.has(name)) since.set(name, nowMs);
      // An agent says that it receives a moment after it may.
      else if (nowMs - since.get(name)! >= 2_000) {
        const state = 'transferring';
        book.take(name, { state, verifiedBytes, rateBytesPerSecond: 0, received });
      }
    }
    const progress = {
      epoch: 1,
      nodes: book.progress(agents),
      originBytes: 0,
      sourceChanged: false,
    };
    shown.add(progress.nodes.map(({ state }) => state).join());
    return memory.idleForMs(progress, { isServed: true, open: names.length }, nowMs);
  };
  const endMs = 1_200_000;
  let idleMs = 0;
  for (let nowMs = 0; nowMs <= endMs; nowMs += 1_000) idleMs = lookAt(nowMs, 0);
  expect(shown.size, 'turns').toBeGreaterThan(2);
  expect(idleMs).toBe(endMs);
  // A byte does.
  for (let nowMs = endMs; nowMs < endMs + 5_000; nowMs += 1_000) idleMs = lookAt(nowMs, 1);
  expect(idleMs).toBeLessThan(5_000);
});
