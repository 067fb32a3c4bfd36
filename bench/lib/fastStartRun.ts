/** One run of bench/fastStart.ts: when the first bytes, and the first verified piece, are where. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { roundTripMs, watchFirstPayload } from './capture.ts';
import { type Host, readLinks } from './links.ts';
import { withRig } from './rig.ts';
import type { Setup } from './setups.ts';
import { sluice } from './sluice.ts';
import type { Rig, RunningSystem } from './system.ts';

export interface FastStartRun {
  readonly setup: string;
  /** From the relay's first payload packet from the origin on, by node. */
  readonly firstByteMs: Readonly<Record<string, number>>;
  /** The same, until the node's store has noted its first piece as verified and written. */
  readonly firstPieceMs: Readonly<Record<string, number>>;
  readonly roundTripMs: number;
}

const ORIGIN_PORT = 80;
const BIT_TORRENT_PORT = 6881;
const RELAY_HTTP_PORT = 8081;
const POLL_MS = 1;
const TIMEOUT_MS = 60_000;
/** Of a store's state file; its records follow, a mark first. */
const STATE_HEAD_BYTES = 64;
const STATE_RECORD_BYTES = 37;

export async function fastStartRun(setup: Setup, signal: AbortSignal): Promise<FastStartRun> {
  return withRig(setup, sluice, { signal, done: () => {} }, (rig, running) =>
    measure(rig, running),
  );
}

async function measure(rig: Rig, running: RunningSystem): Promise<FastStartRun> {
  const { setup, relays, nodes, folder, processes, signal } = rig;
  const [relay] = relays as [Host];
  const servedAt = setup.delivery?.transport === 'HTTP' ? RELAY_HTTP_PORT : BIT_TORRENT_PORT;
  const rtt = Math.max(
    ...(await Promise.all(
      [relay, ...nodes].map(({ address }) => roundTripMs(address, BIT_TORRENT_PORT)),
    )),
  );
  const relayByte = await watchFirstPayload(relay, ORIGIN_PORT, processes);
  const nodeBytes = await Promise.all(
    nodes.map((node) => watchFirstPayload(node, servedAt, processes)),
  );
  running.begin(nodes);
  const verifiedAtMs = new Map<string, number>();
  const deadline = performance.now() + TIMEOUT_MS;
  while (verifiedAtMs.size < nodes.length) {
    await sleep(POLL_MS, undefined, { signal });
    running.check();
    if (performance.now() > deadline) throw new Error(`no first piece: ${linkLine()}`);
    for (const { name } of nodes) {
      if (verifiedAtMs.has(name) || !hasPiece(path.join(folder, name))) continue;
      verifiedAtMs.set(name, performance.timeOrigin + performance.now());
    }
  }
  const originMs = await relayByte.atMs;
  const byteMs = await Promise.all(nodeBytes.map(({ atMs }) => atMs));
  return {
    setup: setup.name,
    firstByteMs: Object.fromEntries(
      nodes.map(({ name }, at) => [name, (byteMs[at] ?? Number.NaN) - originMs]),
    ),
    firstPieceMs: Object.fromEntries([...verifiedAtMs].map(([name, at]) => [name, at - originMs])),
    roundTripMs: rtt,
  };
}

/** Whether the store of the first epoch has noted a piece: it does so right after the bytes. */
function hasPiece(root: string): boolean {
  let state: Buffer;
  try {
    state = readFileSync(path.join(root, 'team/.sluice/bench/1.state'));
  } catch {
    return false;
  }
  for (let at = STATE_HEAD_BYTES; at < state.length; at += STATE_RECORD_BYTES) {
    if (state[at] !== 0) return true;
  }
  return false;
}

function linkLine(): string {
  return [...readLinks()].map(([name, { received }]) => `${name} got ${received}`).join(', ');
}
