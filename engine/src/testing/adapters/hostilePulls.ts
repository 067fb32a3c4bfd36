import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_HTTP_OPTIONS, NodeHttpSource } from '../../adapters/http/nodeHttpSource.ts';
import { systemClock } from '../../adapters/systemClock.ts';
import type { Clock } from '../../ports/clock.ts';
import type { PullErrorCode } from '../../session/originAnswer.ts';
import { createPuller } from '../../session/originPuller.ts';
import { type PullEnd, UNSEEN_BYTES } from '../../session/puller.ts';
import type { PullMeters } from '../../session/pullMeters.ts';
import { MemoryTarget } from '../memoryTarget.ts';
import { RawOrigin, type RawOriginOptions, type Script } from '../rawOrigin.ts';

/** What an origin does, and how a pull from it ends. */
export interface Case {
  readonly origin: string;
  readonly script: Script;
  /** How the pull ends. */
  readonly ends: 'completed' | PullErrorCode;
  readonly connections?: number;
  readonly slackBytes?: number;
  /** The clock of the pull runs so much faster than the origin's: back-offs are long. */
  readonly speed?: number;
  readonly idleTimeoutMs?: number;
  /** It sends what nobody asked for: then the rate cannot hold, but what it sent is charged. */
  readonly unasked?: true;
  readonly mostRequests?: number;
}

export interface PullOptions {
  readonly ranges?: boolean;
  readonly tls?: RawOriginOptions['tls'];
  readonly scheme?: 'http' | 'https';
  readonly ca?: string;
  readonly connectTimeoutMs?: number;
}

/** A pull that is over, with every connection closed. */
export interface FinishedPull {
  readonly end: PullEnd;
  readonly usedBytes: number;
  readonly meters: PullMeters;
  readonly target: MemoryTarget;
  readonly origin: RawOrigin;
  readonly connections: number;
  readonly slackBytes: number;
  readonly speed: number;
}

const PIECE = 262_144;
export const BODY = randomBytes(6 * PIECE + 12_345);
const RATE = 4_000_000;
const SLACK = 400_000;
const WINDOWS_MS = [10, 50, 200, 1000];
/** Until an origin has read that its connections have ended. */
const READ_END_MS = 20;

/** Pulls of one file, each from an origin of its own. */
export class HostilePulls {
  readonly #stops: (() => Promise<void>)[] = [];

  async pull(
    {
      script,
      connections = 4,
      slackBytes = SLACK,
      speed = 1,
      idleTimeoutMs,
    }: Omit<Case, 'origin' | 'ends'>,
    { ranges = true, tls, scheme = 'http', ca, connectTimeoutMs }: PullOptions = {},
  ): Promise<FinishedPull> {
    const origin = new RawOrigin({
      body: BODY,
      script,
      clock: systemClock,
      ...(tls !== undefined && { tls }),
    });
    const port = await origin.start();
    const target = new MemoryTarget(BODY, PIECE);
    const clock = fasterClock(speed);
    const grant = {
      extents: [{ first: 0, count: Math.ceil(BODY.length / PIECE) }],
      rateBytesPerSecond: RATE,
      slackBytes,
      connections,
      maxBytes: 20 * BODY.length + 8 * UNSEEN_BYTES,
      ttlMs: 600_000,
    };
    const http = new NodeHttpSource({
      ...DEFAULT_HTTP_OPTIONS,
      ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
      ...(ca !== undefined && { ca }),
      ...(connectTimeoutMs !== undefined && { connectTimeoutMs }),
    });
    const url = `${scheme}://127.0.0.1:${port}/file.bin`;
    const files = [{ url, sizeBytes: BODY.length, validator: { etag: '"one"' } }];
    const options = { files, headers: {}, ranges, pieceLengthBytes: PIECE };
    const dependencies = { http, clock, layout: target, target };
    const puller = createPuller(grant, clock.now(), options, dependencies);
    this.#stops.push(async () => {
      await puller.close();
      await origin.stop();
    });
    puller.start();
    const end = await puller.ended;
    await puller.close();
    const usedBytes = puller.usedBytes();
    const meters = puller.meters();
    return { end, usedBytes, meters, target, origin, connections, slackBytes, speed };
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0)) await stop();
  }
}

function fasterClock(speed: number): Clock {
  return {
    now: () => systemClock.now() * speed,
    setTimer: (delayMs, callback) => systemClock.setTimer(delayMs / speed, callback),
  };
}

/** What did not hold of what must hold, however it ends. */
export async function problemsOf(
  { end, usedBytes, target, origin, connections, slackBytes, speed }: FinishedPull,
  { ends, unasked, mostRequests }: Pick<Case, 'ends' | 'unasked' | 'mostRequests'>,
): Promise<string[]> {
  const { meter, requests } = origin;
  const problems: string[] = [];
  const must = (holds: boolean, problem: string) => {
    if (!holds) problems.push(problem);
  };
  const how = end.kind === 'failed' ? end.error.code : end.kind;
  must(how === ends, `it ended with ${how}`);
  must(target.mismatches === 0, `${target.mismatches} pieces were wrong`);
  must(ends !== 'completed' || target.bytes.equals(BODY), 'the file is not the same');
  must(meter.mostConnections <= connections, `${meter.mostConnections} connections at once`);
  must(usedBytes >= meter.totalBytes, `charged ${usedBytes} of ${meter.totalBytes} bytes`);
  for (const windowMs of unasked === undefined ? WINDOWS_MS : []) {
    const bound = (RATE * speed * windowMs) / 1000 + slackBytes;
    const bytes = meter.largestWindow(windowMs);
    must(bytes <= bound, `${bytes} bytes in ${windowMs} ms, where ${bound} may be`);
  }
  must(requests <= (mostRequests ?? requests), `${requests} requests`);
  await sleep(READ_END_MS);
  must(meter.openConnections === 0, `${meter.openConnections} connections are open`);
  return problems;
}
