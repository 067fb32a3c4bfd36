/** What an origin sees of lease loops under a limit, from their first request on, on a virtual clock. */
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import { LeaseLoop, type LeaseLoopDependencies } from '@sluice/protocol/client/leaseLoop.ts';
import { describe, expect, it } from 'vitest';
import {
  aLeasedDistribution,
  aLeaseService,
  anOriginPolicy,
  PIECE_BYTES,
} from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import {
  droppingPullers,
  LATE_MS,
  lateClock,
  MeteredHttp,
  type VirtualOrigin,
} from '../testing/meteredHttp.ts';
import { PULLER, relay } from '../testing/testLeases.ts';
import type { LeaseService } from './leaseService.ts';

/** A guess of the latency is mended, and what it cost comes back a second later. */
const SETTLED_MS = 2_000;
const RUN_MS = 12_000;
/** To the control server, and back. */
const CONTROL_MS = 5;
const WANTED_RATE = 1e10;

interface Use {
  /** Of the limit, once settled. */
  readonly usedShare: number;
  readonly worstSecondShare: number;
}

async function use(
  limit: number,
  connections: number,
  holders: number,
  origin: VirtualOrigin,
): Promise<Use> {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const http = new MeteredHttp(origin, clock, () => random.next() * LATE_MS);
  const leases = aLeaseService({ store: new MemoryJournal(), clock });
  const limits = { maxConnections: connections, maxBandwidthBytesPerSecond: limit };
  leases.setOrigins([anOriginPolicy(limits)]);
  const pieceCount = Math.ceil((limit * RUN_MS) / 1000 / PIECE_BYTES) + 2;
  leases.setDistribution(aLeasedDistribution({ pieceCount }));
  const loops = new Map<string, LeaseLoop>();
  leases.onAsk((holder) => loops.get(holder)?.askNow());
  leases.lead(1);
  for (let at = 1; at <= holders; at += 1) {
    const holder = `relay-${at}`;
    const holderClock = lateClock(clock, () => random.next());
    const loop = new LeaseLoop(
      { uid: 'a', epoch: 1, pieceLengthBytes: PIECE_BYTES, pullerKey: PULLER },
      {
        client: { lease: client(leases, holder, clock) },
        clock: holderClock,
        createPuller: droppingPullers(http, holderClock),
        wantedRateBytesPerSecond: () => WANTED_RATE,
        want: () => ({ rateBytesPerSecond: WANTED_RATE, connections }),
        complete: () => false,
        onFailure: () => {},
        onProblem: (problem) => {
          throw problem;
        },
      },
    );
    loops.set(holder, loop);
    void loop.run(new AbortController().signal);
  }
  await clock.run(() => false, RUN_MS);
  return {
    usedShare: http.rateBetween(SETTLED_MS, RUN_MS) / limit,
    worstSecondShare: http.meter.largestWindow(1000) / limit,
  };
}

function client(
  leases: LeaseService,
  holder: string,
  clock: VirtualClock,
): LeaseLoopDependencies['client']['lease'] {
  const pass = () => new Promise<void>((resolve) => clock.setTimer(CONTROL_MS, resolve));
  let sequence = 0;
  return async (ask) => {
    sequence += 1;
    const requestedAtMs = clock.now();
    await pass();
    const request = { ...ask, incarnation: holder.padEnd(8, '-'), sequence };
    const answer = await leases.answer(relay(holder), request);
    await pass();
    return { answer, requestedAtMs, sequence };
  };
}

describe('a limit that lease loops are under', () => {
  it.each(
    [1, 4].flatMap((holders) =>
      [0, 20].flatMap((timeToFirstByteMs) =>
        [1, 8].map((each) => ({ holders, connections: each * holders, timeToFirstByteMs })),
      ),
    ),
  )(
    'is used to 95 % by $holders over $connections connections, first byte after $timeToFirstByteMs ms',
    async ({ holders, connections, timeToFirstByteMs }) => {
      const limit = 20e6;
      const { usedShare, worstSecondShare } = await use(limit, connections, holders, {
        timeToFirstByteMs,
      });
      expect(worstSecondShare).toBeLessThanOrEqual(1);
      expect(usedShare).toBeGreaterThanOrEqual(0.95);
    },
  );
});
