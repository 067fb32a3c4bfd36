/**
 * Holders of leases at one origin under a limit, on the clock of whoever makes them: the lease loops
 * and pullers of relays, the operator's lease service, and an origin with a meter of its own. Their
 * requests take a while to the control server and back; timers and answers are heard of late.
 */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { LeaseLoop } from '@sluice/protocol/client/leaseLoop.ts';
import type { LeaseService } from '../quota/leaseService.ts';
import { aLeasedDistribution, aLeaseService, anOriginPolicy, distantLeases } from './leasing.ts';
import { MemoryJournal } from './memoryJournal.ts';
import {
  droppingPullers,
  LATE_MS,
  lateClock,
  MeteredHttp,
  PIECE_BYTES,
  type VirtualOrigin,
} from './meteredHttp.ts';
import { PULLER } from './testLeases.ts';

export interface LeasedHoldersOptions {
  readonly limitBytesPerSecond: number;
  readonly connections: number;
  readonly origin: VirtualOrigin;
  /** So long nobody runs out of pieces. */
  readonly forMs: number;
}

/** To the control server, with the write of its journal; and back. */
const CONTROL_MS = 5;
const WANTED_RATE = 1e10;

export class LeasedHolders {
  readonly #options: LeasedHoldersOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #http: MeteredHttp;
  readonly #leases: LeaseService;
  readonly #loops = new Map<string, LeaseLoop>();

  /** `random`: uniform in [0, 1). */
  constructor(options: LeasedHoldersOptions, clock: Clock, random: () => number) {
    const { limitBytesPerSecond, connections, origin, forMs } = options;
    this.#options = options;
    this.#clock = clock;
    this.#random = random;
    this.#http = new MeteredHttp(origin, clock, () => random() * LATE_MS);
    this.#leases = aLeaseService({ store: new MemoryJournal(), clock });
    const limits = { maxConnections: connections, maxBandwidthBytesPerSecond: limitBytesPerSecond };
    this.#leases.setOrigins([anOriginPolicy(limits)]);
    const pieceCount = Math.ceil((limitBytesPerSecond * forMs) / 1000 / PIECE_BYTES) + 2;
    this.#leases.setDistribution(aLeasedDistribution({ pieceCount }));
    this.#leases.onAsk((holder) => this.#loops.get(holder)?.askNow());
    this.#leases.lead(1);
  }

  /** Answers how it leaves: with every request reset and its lease settled. */
  join(name: string, connections = this.#options.connections): () => void {
    const abort = new AbortController();
    const clock = lateClock(this.#clock, this.#random);
    const loop = new LeaseLoop(
      { uid: 'a', epoch: 1, pieceLengthBytes: PIECE_BYTES, pullerKey: PULLER },
      {
        client: { lease: distantLeases(this.#leases, name, this.#clock, CONTROL_MS) },
        clock,
        createPuller: droppingPullers(this.#http, clock),
        wantedRateBytesPerSecond: () => WANTED_RATE,
        want: () => ({ rateBytesPerSecond: WANTED_RATE, connections }),
        complete: () => false,
        onFailure: () => {},
        onProblem: (problem) => {
          if (!abort.signal.aborted) throw problem;
        },
      },
    );
    this.#loops.set(name, loop);
    loop.run(abort.signal).finally(() => this.#loops.delete(name));
    return () => abort.abort(new Error('the holder leaves'));
  }

  /** Nothing is granted any more. */
  stop(): void {
    this.#leases.stepDown();
  }

  /** Of the limit, by the origin's meter. */
  usedShare(fromMs: number, untilMs: number): number {
    return this.#http.rateBetween(fromMs, untilMs) / this.#options.limitBytesPerSecond;
  }

  worstSecondShare(): number {
    return this.#http.meter.largestWindow(1000) / this.#options.limitBytesPerSecond;
  }
}
