import type { Clock, Timer } from '../ports/clock.ts';
import type { HttpSource } from '../ports/httpSource.ts';
import {
  climb,
  type HelpSource,
  INITIAL_LADDER,
  isHelped,
  type LadderState,
  type Rung,
  type Want,
} from '../topup/ladder.ts';
import { RelayDownloads, type RelayDownloadsTarget } from './relayDownloads.ts';
import { type FeedTarget, RelayFeed } from './relayFeed.ts';
import type { TopUpRelay } from './relayUrl.ts';

/** What top-up needs of its transfer. */
export interface TopUpTarget extends FeedTarget, RelayDownloadsTarget {
  /** Whether the feed names a piece that this node lacks: for those the floor is owed. */
  lacksNamedPieces(): boolean;
  /** Payload received so far, verified or not. */
  receivedBytes(): {
    readonly bitTorrent: number;
    readonly relayHttp: number;
    readonly origin: number;
  };
}

export interface TopUpOptions {
  /** Hex. */
  readonly swarmId: string;
  /** Bearer token for this swarm at relays; never logged. */
  readonly relayToken: string;
}

/** Whoever fetches from the origin, under leases. */
export interface OriginHelp {
  /** What is under way and likely to be here within a second. */
  expectedBytes(): number;
  /** What is missing without it, each time that changes; undefined: nothing. */
  want(want: Want | undefined): void;
}

export interface TopUpDependencies {
  readonly http: HttpSource;
  readonly clock: Clock;
  readonly target: TopUpTarget;
  /** Absent: this process takes nothing from the origin. */
  readonly origin?: OriginHelp | undefined;
}

/** What a user says about HTTP; all of it may change at any time. */
export interface TopUpPolicy {
  /** Bytes per second; undefined: no floor. */
  readonly minRate?: number | undefined;
  /** Who helps a node that is short, the first one first. */
  readonly sources: readonly HelpSource[];
  /** Nothing is expected of BitTorrent: the first source carries the node. */
  readonly isCarried: boolean;
}

const TICK_MS = 100;

/** Holds a node at its floor: asks relays over HTTP, and then the origin, for what is missing. */
export class TopUp {
  readonly #dependencies: TopUpDependencies;
  readonly #downloads: RelayDownloads;
  readonly #feed: RelayFeed;
  #policy: TopUpPolicy = { sources: ['relay'], isCarried: false };
  #relays: readonly TopUpRelay[] = [];
  #ladder: LadderState = INITIAL_LADDER;
  #timer: Timer | undefined;
  #stopped = true;

  constructor(options: TopUpOptions, dependencies: TopUpDependencies) {
    this.#dependencies = dependencies;
    this.#feed = new RelayFeed(options, dependencies);
    this.#downloads = new RelayDownloads(options, {
      ...dependencies,
      onEnd: () => this.#climb(),
    });
  }

  start(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#feed.start();
    this.#tick();
  }

  /** Resolves when nothing is under way at relays and every connection to them is closed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#dependencies.origin?.want(undefined);
    await this.#downloads.stop();
    await this.#feed.stop();
  }

  setPolicy(policy: TopUpPolicy): void {
    this.#policy = policy;
    this.#applyRelays();
  }

  /** The complete list. Fetches from relays that left it are given up. */
  setRelays(relays: readonly TopUpRelay[]): void {
    this.#relays = relays;
    this.#applyRelays();
  }

  /** Whether the node's speed is held up at the moment. */
  get isHelping(): boolean {
    return isHelped(this.#ladder);
  }

  #applyRelays(): void {
    const { sources } = this.#policy;
    // The feed is no payload: without it nothing that the origin brings could be verified.
    this.#feed.setRelays(sources.length > 0 ? this.#relays : []);
    this.#downloads.setRelays(sources.includes('relay') ? this.#relays : []);
  }

  #tick(): void {
    this.#climb();
    this.#timer = this.#dependencies.clock.setTimer(TICK_MS, () => this.#tick());
  }

  #climb(): void {
    if (this.#stopped) return;
    const { clock, target, origin } = this.#dependencies;
    const { minRate, isCarried, sources } = this.#policy;
    // Relays pass on pieces that are still coming to them, which nothing names yet.
    const isStreamed = isCarried && sources[0] === 'relay' && target.hasUnnamedPieces();
    this.#downloads.leaveStalled();
    const { state, wants } = climb(this.#ladder, {
      nowMs: clock.now(),
      minRateBytesPerSecond: minRate,
      bitTorrentBytes: target.receivedBytes().bitTorrent,
      owed: isStreamed || target.lacksNamedPieces(),
      rungs: this.#rungs(),
      isCarried,
    });
    this.#ladder = state;
    this.#downloads.fetch(wants.relay?.bytes ?? 0);
    origin?.want(wants.origin);
  }

  #rungs(): Rung[] {
    const { target, origin } = this.#dependencies;
    const received = target.receivedBytes();
    return this.#policy.sources.flatMap((source): Rung[] => {
      if (source === 'relay') {
        return [
          {
            source,
            receivedBytes: received.relayHttp,
            expectedBytes: this.#downloads.expectedBytes(),
            isUsable: this.#downloads.isUsable,
          },
        ];
      }
      if (origin === undefined) return [];
      const expectedBytes = origin.expectedBytes();
      return [{ source, receivedBytes: received.origin, expectedBytes, isUsable: true }];
    });
  }
}
