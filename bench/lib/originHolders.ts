/**
 * Who takes from an origin under its limit: lease loops and pullers as in a relay, under leases of
 * the operator's own service. What they pull is counted and dropped: no disk and no peers.
 */
import { NodeHttpSource } from '@sluice/engine/adapters/http/nodeHttpSource.ts';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import { createPuller } from '@sluice/engine/session/originPuller.ts';
import { DroppingTarget } from '@sluice/engine/testing/droppingTarget.ts';
import type { LeaseService } from '@sluice/operator/quota/leaseService.ts';
import { systemLeases } from '@sluice/operator/testing/adapters/systemLeases.ts';
import { distantLeases } from '@sluice/operator/testing/leasing.ts';
import { LeaseLoop, type LeaseLoopDependencies } from '@sluice/protocol/client/leaseLoop.ts';
import type { Cell } from './limitCells.ts';

export interface OriginHoldersOptions {
  readonly cell: Cell;
  readonly url: string;
  readonly sizeBytes: number;
  readonly etag: string;
}

/** A request's way to the control server and one durable write of its journal, each way. */
const CONTROL_MS = 5;
const RATE_BYTES_PER_SECOND = 1_250_000_000;
const MB = 1_000_000;
const PIECE_BYTES = 262_144;
const EPOCH = 1;

export class OriginHolders {
  readonly #options: OriginHoldersOptions;
  readonly #leases: LeaseService;
  readonly #abort = new AbortController();
  readonly #loops = new Map<string, LeaseLoop>();
  #running: Promise<void>[] = [];
  #problem: unknown;

  constructor(options: OriginHoldersOptions) {
    this.#options = options;
    this.#leases = systemLeases({
      defaultLimits: { maxConnections: 1, maxBandwidthBytesPerSecond: 100_000 },
      requireOrigin: true,
    });
  }

  start(): void {
    const { cell, url, sizeBytes } = this.#options;
    const { publicKey, seed } = generateFeedKeyPair();
    const uid = cell.name;
    const limits = {
      maxConnections: cell.connections,
      maxBandwidthBytesPerSecond: cell.limit * MB,
    };
    this.#leases.setOrigins([
      {
        name: 'origin',
        hosts: [new URL(url).host],
        limits,
        closeAfterSeconds: 10,
        allowPrivateAddresses: true,
        allowAgentCredentials: false,
      },
    ]);
    this.#leases.setDistribution({
      uid,
      epoch: EPOCH,
      swarmId: '0'.repeat(40),
      url,
      priority: 0,
      suspend: false,
      files: [{ path: 'file', sizeBytes }],
      pieceLengthBytes: PIECE_BYTES,
      pieceCount: Math.ceil(sizeBytes / PIECE_BYTES),
      ranges: true,
      topUpBytes: undefined,
      revokedPullers: [],
      feedPublicKey: publicKey.toString('base64'),
      feedSeed: seed.toString('base64'),
    });
    this.#leases.onAsk((holder) => this.#loops.get(holder)?.askNow());
    this.#leases.lead(1);
    const names = Array.from({ length: cell.holders }, (_, at) => `relay${at + 1}`);
    for (const name of names) this.#loops.set(name, this.#loop(name, uid));
    this.#running = [...this.#loops.values()].map((loop) => loop.run(this.#abort.signal));
  }

  /** Ends with every connection closed and every lease settled. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
    this.#leases.stepDown();
    if (this.#problem !== undefined) throw this.#problem;
  }

  #loop(holder: string, uid: string): LeaseLoop {
    const { cell } = this.#options;
    const want = { rateBytesPerSecond: RATE_BYTES_PER_SECOND, connections: cell.connections };
    const pullerKey = generateFeedKeyPair().publicKey.toString('base64');
    const fail = (problem: unknown) => {
      this.#problem ??= problem;
    };
    return new LeaseLoop(
      { uid, epoch: EPOCH, pieceLengthBytes: PIECE_BYTES, pullerKey },
      {
        client: { lease: distantLeases(this.#leases, holder, systemClock, CONTROL_MS) },
        clock: systemClock,
        createPuller: this.#newPuller(),
        wantedRateBytesPerSecond: () => RATE_BYTES_PER_SECOND,
        want: () => want,
        complete: () => false,
        onFailure: (error) => {
          if (error !== undefined) fail(new Error(`${cell.name}: ${error.message}`));
        },
        onProblem: fail,
      },
    );
  }

  #newPuller(): LeaseLoopDependencies['createPuller'] {
    const { url, sizeBytes, etag } = this.#options;
    const layout = layoutOf([{ path: 'file', sizeBytes }], PIECE_BYTES);
    const files = [{ url, sizeBytes, validator: { etag } }];
    const options = { files, headers: {}, ranges: true, pieceLengthBytes: PIECE_BYTES };
    const target = new DroppingTarget((piece) => layout.pieceSizeBytes(piece));
    const dependencies = { http: new NodeHttpSource(), clock: systemClock, layout, target };
    return (grant, requestedAtMs) => createPuller(grant, requestedAtMs, options, dependencies);
  }
}
