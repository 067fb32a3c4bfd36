import { Bitfield } from '../pieces/bitfield.ts';
import type { HttpSource } from '../ports/httpSource.ts';
import { createPuller } from '../session/originPuller.ts';
import type { Puller, PullGrant } from '../session/puller.ts';
import type { PullTarget } from '../session/pullPlan.ts';
import type { OriginHelp } from '../session/topUp.ts';
import type { Transfer } from '../session/transfer.ts';
import type { Want } from '../topup/ladder.ts';
import type { SimulatedEpoch } from './simulatedEpoch.ts';
import type { VirtualClock } from './virtualClock.ts';

export interface OriginSide {
  readonly epoch: SimulatedEpoch;
  readonly clock: VirtualClock;
  readonly http: HttpSource;
  readonly ranges: boolean;
}

/** Not started yet. */
export function pullerOf(
  { epoch, clock, http, ranges }: OriginSide,
  grant: PullGrant,
  target: PullTarget,
  isFirst = false,
): Puller {
  const { layout } = epoch.file;
  const { pieceLengthBytes } = layout;
  const files = epoch.originFiles();
  return createPuller(
    grant,
    clock.now(),
    { files, headers: {}, ranges, pieceLengthBytes, isFirst },
    { http, clock, layout, target },
  );
}

/** A lease that a node could not have is asked for again after this. */
const RETRY_MS = 200;

/** What a node tops up with from the origin, one lease after the other while it is short. */
export class SimulatedOriginHelp implements OriginHelp {
  readonly #name: string;
  readonly #transfer: Transfer;
  readonly #side: OriginSide;
  /** How many relays pull at the moment. */
  readonly #pulling: () => number;
  #want: Want | undefined;
  #held: { readonly puller: Puller; readonly rate: number } | undefined;
  #isStopped = false;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(name: string, transfer: Transfer, side: OriginSide, pulling: () => number) {
    this.#name = name;
    this.#transfer = transfer;
    this.#side = side;
    this.#pulling = pulling;
  }

  expectedBytes(): number {
    if (this.#held === undefined) return 0;
    const { puller, rate } = this.#held;
    return Math.min(rate, this.#bytesOf(piecesIn(puller)));
  }

  want(want: Want | undefined): void {
    this.#want = want;
    if (want !== undefined) this.#ask(want);
  }

  /** Its process, or its epoch, ends. */
  stop(): void {
    this.#isStopped = true;
    this.#held?.puller.close();
  }

  #ask(want: Want): void {
    const { epoch, clock } = this.#side;
    if (this.#isStopped || this.#held !== undefined || clock.now() - this.#askedAtMs < RETRY_MS)
      return;
    this.#askedAtMs = clock.now();
    const { pieceCount } = epoch.file.layout;
    const pieces = Bitfield.parse(this.#transfer.originPieces(), pieceCount)?.pieces() ?? [];
    const rate = Math.max(1, want.rateBytesPerSecond);
    const grant = epoch.leases.grantTopUp(this.#name, [...pieces], rate, this.#pulling());
    if (grant !== undefined) this.#pull(grant);
  }

  async #pull(grant: PullGrant): Promise<void> {
    const puller = pullerOf(this.#side, grant, this.#transfer.asTopUpTarget());
    this.#held = { puller, rate: grant.rateBytesPerSecond };
    puller.start();
    await puller.ended;
    await puller.close();
    this.#side.epoch.leases.settleTopUp(this.#name, piecesIn(puller));
    this.#held = undefined;
    if (this.#want !== undefined) this.#ask(this.#want);
  }

  #bytesOf(pieces: number): number {
    return pieces * this.#side.epoch.file.layout.pieceLengthBytes;
  }
}

function piecesIn(puller: Puller): number {
  return puller.unfinished().reduce((sum, { count }) => sum + count, 0);
}
