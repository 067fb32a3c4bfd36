/** An origin on a virtual clock with a meter of its own, and pullers that drop what they pull. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import {
  type HttpConnection,
  type HttpSource,
  HttpSourceError,
  type RangeRequest,
  type RangeResult,
} from '@sluice/engine/ports/httpSource.ts';
import { createPuller } from '@sluice/engine/session/originPuller.ts';
import type { Puller, PullGrant } from '@sluice/engine/session/puller.ts';
import { DroppingTarget } from '@sluice/engine/testing/droppingTarget.ts';
import { OriginMeter } from '@sluice/engine/testing/originMeter.ts';
import { sleep } from '@sluice/protocol/sleep.ts';

export const PIECE_BYTES = 262_144;
const HEAD_BYTES = 300;
const SIZE_BYTES = 2 ** 40;
const CHUNK_BYTES = 65_536;
const CHUNK = new Uint8Array(CHUNK_BYTES);
/** Of a network that is no limit. */
const LINK_BYTES_PER_MS = 1_000_000;

export interface VirtualOrigin {
  readonly timeToFirstByteMs: number;
  /** Nothing goes out in the first part of each period. */
  readonly stall?: { readonly everyMs: number; readonly forMs: number };
}

/** An origin that writes what it is asked for at once, after its time, and remembers when. */
export class MeteredHttp implements HttpSource {
  readonly meter: OriginMeter;
  readonly #origin: VirtualOrigin;
  readonly #clock: Clock;
  readonly #late: () => number;

  constructor(origin: VirtualOrigin, clock: Clock, late: () => number) {
    this.#origin = origin;
    this.#clock = clock;
    this.meter = new OriginMeter(clock);
    this.#late = late;
  }

  connection(): HttpConnection {
    return {
      close: async () => {},
      unprovenEnds: 0,
      unaskedBytes: 0,
      request: (request, signal) => this.#request(request, signal),
    };
  }

  async #request(
    { range, onHead, onChunk }: RangeRequest,
    signal: AbortSignal,
  ): Promise<RangeResult> {
    const { start, end } = range as { start: number; end: number };
    const bodyBytes = end - start;
    const askedAtMs = this.#clock.now();
    const pass = (ms: number) => sleep(this.#clock, ms, signal);
    let wrote = 0;
    let read = 0;
    try {
      await pass(this.#origin.timeToFirstByteMs);
      await pass(this.#stallLeftMs());
      wrote = HEAD_BYTES + bodyBytes;
      this.meter.add(wrote);
      await pass(this.#late());
      const timeToHeadMs = this.#clock.now() - askedAtMs;
      const headers = { 'content-range': `bytes ${start}-${end - 1}/${SIZE_BYTES}` };
      const head = { status: 206, headers, headerBytes: HEAD_BYTES, timeToHeadMs };
      read = HEAD_BYTES;
      onHead(head);
      for (let at = 0; at < bodyBytes; at += CHUNK_BYTES) {
        const chunk = CHUNK.subarray(0, bodyBytes - at);
        await pass(chunk.byteLength / LINK_BYTES_PER_MS);
        read += chunk.byteLength;
        onChunk(chunk);
      }
      return { head, bodyBytes, wireBytes: read };
    } catch (cause) {
      if (!signal.aborted) throw cause;
      const details = { wireBytes: read, exact: wrote === read, cause };
      throw new HttpSourceError('Aborted', 'the request was aborted', details);
    }
  }

  rateBetween(fromMs: number, untilMs: number): number {
    return (this.meter.bytesBetween(fromMs, untilMs) * 1000) / (untilMs - fromMs);
  }

  #stallLeftMs(): number {
    const { everyMs, forMs } = this.#origin.stall ?? { everyMs: 1, forMs: 0 };
    return Math.max(0, forMs - (this.#clock.now() % everyMs));
  }
}

/** Timers and sockets are heard of so late. */
export const LATE_MS = 2;

/** As a process on a busy machine has it. `random`: uniform in [0, 1). */
export function lateClock(clock: Clock, random: () => number): Clock {
  return {
    now: () => clock.now(),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs + random() * LATE_MS, callback),
  };
}

/** A holder's; each keeps in mind which pieces it had. */
export function droppingPullers(
  http: HttpSource,
  clock: Clock,
): (grant: PullGrant, requestedAtMs: number) => Puller {
  const file = { url: 'http://origin/', sizeBytes: SIZE_BYTES, validator: {} };
  const options = { files: [file], headers: {}, ranges: true, pieceLengthBytes: PIECE_BYTES };
  const layout = {
    pieceSizeBytes: () => PIECE_BYTES,
    locate: (piece: number) => ({ fileIndex: 0, offset: piece * PIECE_BYTES }),
  };
  const dependencies = { http, clock, layout, target: new DroppingTarget(() => PIECE_BYTES) };
  return (grant, requestedAtMs) => createPuller(grant, requestedAtMs, options, dependencies);
}
