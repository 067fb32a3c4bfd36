import { createPuller } from '@sluice/engine/session/originPuller.ts';
import type { PieceAssembly, PullTarget } from '@sluice/engine/session/pullPlan.ts';
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { LeaseClient } from '@sluice/protocol/client/leaseClient.ts';
import { LeaseLoop } from '@sluice/protocol/client/leaseLoop.ts';
import type { LeaseAnswer, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import type { LeasedDistribution, LeaseHolder } from '../quota/leases.ts';
import type { Machine } from './machine.ts';
import { sourceAt } from './simulatedConnection.ts';
import type { SimulatedOrigin } from './simulatedOrigin.ts';

export interface HolderOptions {
  readonly kind: LeaseHolder['kind'];
  readonly incarnation: string;
  readonly pullerKey: string;
}

export interface HolderDependencies {
  readonly machine: Machine;
  readonly random: SeededRandom;
  readonly origin: SimulatedOrigin;
  readonly post: (request: LeaseRequest, signal: AbortSignal) => Promise<LeaseAnswer>;
}

interface Pulling {
  readonly epoch: number;
  readonly loop: LeaseLoop;
  readonly abort: AbortController;
  readonly target: Dropping;
}

/** One run of a relay's or an agent's process: the real loops and pullers, for all distributions. */
export class SimulatedHolder {
  readonly machine: Machine;
  readonly holder: LeaseHolder;
  /** Absent: as much as there is. Zero: nothing. */
  wantRate = 1e9;
  readonly #options: HolderOptions;
  readonly #dependencies: HolderDependencies;
  readonly #pulling = new Map<string, Pulling>();
  readonly #client: LeaseClient;
  #sequence = 0;

  constructor(options: HolderOptions, dependencies: HolderDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    this.machine = dependencies.machine;
    this.holder = { id: `${this.machine.name} ${options.incarnation}`, kind: options.kind };
    const { machine, post, random } = dependencies;
    this.#client = new LeaseClient(options.incarnation, {
      clock: machine,
      random: () => random.next(),
      nextSequence: () => {
        this.#sequence += 1;
        return this.#sequence;
      },
      post,
    });
  }

  /** Begins with this epoch and ends with the one before. */
  pull(distribution: LeasedDistribution): void {
    const { uid, epoch } = distribution;
    this.#pulling.get(uid)?.abort.abort();
    const abort = new AbortController();
    const target = new Dropping(distribution.pieceLengthBytes, distribution.pieceCount);
    const loop = this.#loop(distribution, target);
    this.#pulling.set(uid, { epoch, loop, abort, target });
    loop.run(abort.signal).catch(() => {});
  }

  want(rateBytesPerSecond: number): void {
    this.wantRate = rateBytesPerSecond;
    for (const { loop } of this.#pulling.values()) loop.mayWant();
  }

  asked(uid: string, epoch: number): void {
    const pulling = this.#pulling.get(uid);
    if (pulling?.epoch === epoch) pulling.loop.askNow();
  }

  /** SIGTERM: everything is settled. */
  stop(): void {
    for (const { abort } of this.#pulling.values()) abort.abort();
  }

  held(uid: string): { epoch: number; bitfield: Uint8Array } | undefined {
    const pulling = this.#pulling.get(uid);
    return pulling && { epoch: pulling.epoch, bitfield: pulling.target.bitfield };
  }

  #loop(distribution: LeasedDistribution, target: Dropping): LeaseLoop {
    const { machine, origin, random } = this.#dependencies;
    const { kind, pullerKey } = this.#options;
    const { uid, epoch, url, pieceLengthBytes, pieceCount, ranges } = distribution;
    const sizeBytes = pieceLengthBytes * pieceCount;
    const isAgent = kind === 'agent';
    const acceptable = Buffer.alloc(Math.ceil(pieceCount / 8), 0xff).toString('base64');
    const source = {
      files: [{ url, sizeBytes, validator: {} }],
      headers: {},
      ranges,
      pieceLengthBytes,
    };
    const layout = {
      pieceSizeBytes: () => pieceLengthBytes,
      locate: (piece: number) => ({ fileIndex: 0, offset: piece * pieceLengthBytes }),
    };
    const dependencies = { http: sourceAt(origin, machine), clock: machine, layout, target };
    return new LeaseLoop(
      { uid, epoch, pieceLengthBytes, ...(!isAgent && { pullerKey }) },
      {
        client: this.#client,
        clock: machine,
        createPuller: (grant, requestedAtMs) =>
          createPuller(grant, requestedAtMs, source, dependencies),
        wantedRateBytesPerSecond: () => this.wantRate,
        want: () => ({
          rateBytesPerSecond: this.wantRate,
          connections: 1 + random.below(8),
          ...(isAgent && { topUp: { acceptable, wantBytes: 2 ** 20 } }),
        }),
        complete: () => false,
        onFailure: () => {},
        onProblem: () => {},
      },
    );
  }
}

/** Keeps what it has, and none of its bytes. */
class Dropping implements PullTarget {
  readonly bitfield: Uint8Array;
  readonly #pieceBytes: number;

  constructor(pieceBytes: number, pieceCount: number) {
    this.#pieceBytes = pieceBytes;
    this.bitfield = new Uint8Array(Math.ceil(pieceCount / 8));
  }

  holds(piece: number): boolean {
    return (((this.bitfield[piece >> 3] ?? 0) >> (7 - (piece & 7))) & 1) === 1;
  }

  assemble(piece: number): PieceAssembly {
    return {
      piece,
      sizeBytes: this.#pieceBytes,
      missing: () => [{ offset: 0, length: this.#pieceBytes }],
      write: () => {},
      finish: async () => {
        this.bitfield[piece >> 3] = (this.bitfield[piece >> 3] ?? 0) | (128 >> (piece & 7));
        return 'verified';
      },
      abort: () => {},
    };
  }
}
