/** Leases over a journal in memory, for tests. */
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { LeaseLoopDependencies } from '@sluice/protocol/client/leaseLoop.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import type { JournalStore } from '../quota/journal.ts';
import { LeaseService, type LeaseServiceDependencies } from '../quota/leaseService.ts';
import type { LeasedDistribution } from '../quota/leases.ts';
import type { OriginBooksOptions } from '../quota/originBooks.ts';
import { steadyRandom } from './fakeClock.ts';

export const PIECE_BYTES = 262_144;
const keys = generateFeedKeyPair();

/** Of `http://cdn.example.com/file`, in 64 pieces. */
export function aLeasedDistribution(change: Partial<LeasedDistribution> = {}): LeasedDistribution {
  const pieceCount = change.pieceCount ?? 64;
  return {
    uid: 'a',
    epoch: 1,
    swarmId: '0'.repeat(40),
    url: 'http://cdn.example.com/file',
    priority: 0,
    suspend: false,
    files: [{ path: 'file', sizeBytes: pieceCount * PIECE_BYTES }],
    pieceLengthBytes: PIECE_BYTES,
    pieceCount,
    ranges: true,
    topUpBytes: undefined,
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
    revokedPullers: [],
    ...change,
  };
}

/** Covers `cdn.example.com`. */
export function anOriginPolicy(
  limits: OriginPolicy['limits'],
  change: Partial<OriginPolicy> = {},
): OriginPolicy {
  return {
    name: 'cdn',
    hosts: ['cdn.example.com'],
    limits,
    schedule: [],
    closeAfterSeconds: 20,
    allowPrivateAddresses: false,
    allowAgentCredentials: false,
    ...change,
  };
}

export function aLeaseService(
  dependencies: { readonly store: JournalStore; readonly clock: Clock } & Partial<
    Pick<LeaseServiceDependencies, 'onLost' | 'onBroken' | 'wallClock' | 'isRelayAway'>
  >,
  options: Partial<OriginBooksOptions> = {},
): LeaseService {
  const { clock } = dependencies;
  return new LeaseService(
    {
      defaultLimits: { maxConnections: 2, maxBandwidthBytesPerSecond: 1024 * 1024 },
      requireOrigin: false,
      ...options,
    },
    {
      random: steadyRandom,
      wallClock: () => 1e12 + clock.now(),
      onLost: () => {},
      onBroken: () => {},
      onRetry: () => {},
      ...dependencies,
    },
  );
}

/** How a relay asks for leases that is `eachWayMs` away. */
export function distantLeases(
  leases: LeaseService,
  holder: string,
  clock: Clock,
  eachWayMs: number,
): LeaseLoopDependencies['client']['lease'] {
  const pass = () => new Promise<void>((resolve) => clock.setTimer(eachWayMs, resolve));
  let sequence = 0;
  return async (ask) => {
    sequence += 1;
    const requestedAtMs = clock.now();
    await pass();
    const request = { ...ask, incarnation: holder.padEnd(8, '-'), sequence };
    const answer = await leases.answer({ id: holder, kind: 'relay' }, request);
    await pass();
    return { answer, requestedAtMs, sequence };
  };
}
