import { RateMeter } from './rateMeter.ts';

export interface PayloadFacts {
  readonly received: {
    readonly fromPeers: number;
    readonly fromRelays: number;
    readonly fromRelayHttp: number;
    readonly fromOrigin: number;
  };
  readonly uploadedBytes: number;
  /** Payload over the last second. */
  readonly rateBytesPerSecond: number;
  /** On the engine's clock. */
  readonly firstByteAt: number | undefined;
}

/** What a transfer took, from where, and what it gave: payload, verified or not. */
export class PayloadCount {
  readonly #meter = new RateMeter();
  readonly #received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  #uploadedBytes = 0;
  #firstByteAt: number | undefined;

  received(from: keyof PayloadFacts['received'], bytes: number, nowMs: number): void {
    this.#firstByteAt ??= nowMs;
    this.#received[from] += bytes;
    this.#meter.add(bytes, nowMs);
  }

  uploaded(bytes: number): void {
    this.#uploadedBytes += bytes;
  }

  facts(nowMs: number): PayloadFacts {
    return {
      received: { ...this.#received },
      uploadedBytes: this.#uploadedBytes,
      rateBytesPerSecond: this.#meter.bytesPerSecond(nowMs),
      firstByteAt: this.#firstByteAt,
    };
  }

  byProtocol(): { bitTorrent: number; relayHttp: number; origin: number } {
    const { fromPeers, fromRelays, fromRelayHttp, fromOrigin } = this.#received;
    return { bitTorrent: fromPeers + fromRelays, relayHttp: fromRelayHttp, origin: fromOrigin };
  }
}
