/** What both BitTorrent swarms share. The torrent is made before the start signal: a gift to them. */
import path from 'node:path';
import { run } from '../../../e2e/cluster/run.ts';
import type { Host } from '../links.ts';
import { bytesPerSecond } from '../setups.ts';
import type { Rig } from '../system.ts';
import { TRACKER_URL } from './tracker.ts';

/** Debian's, for which its libtorrent is made, whatever else is on the path. */
export const PYTHON = '/usr/bin/python3';
export const NODE_PROGRAM = path.join(import.meta.dirname, 'torrentNode.py');

/**
 * Relays that fill their uplink starve the acknowledgements of their own download: with a tenth
 * kept free libtorrent took half of the time.
 */
const RELAY_UPLOAD_SHARE = 0.9;
const MAKE_TIMEOUT_MS = 120_000;

export async function makeTorrent({ origin, folder, signal }: Rig): Promise<string> {
  const torrent = path.join(folder, 'file.torrent');
  const args = [NODE_PROGRAM, 'make', origin.file.path, torrent, TRACKER_URL];
  await run(PYTHON, args, { signal, timeoutMs: MAKE_TIMEOUT_MS });
  return torrent;
}

/** Bytes per second that a relay may give. */
export function relayUploadRate({ link }: Host): number {
  return Math.round(bytesPerSecond(link.up) * RELAY_UPLOAD_SHARE);
}
