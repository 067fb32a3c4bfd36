/** Holders of leases whose control server is killed again and again. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { Random } from '@sluice/engine/ports/random.ts';
import { ControlError } from '@sluice/protocol/client/controlError.ts';
import type { LeaseReply } from '@sluice/protocol/client/leaseAsking.ts';
import { type LeaseAsk, LeaseClient } from '@sluice/protocol/client/leaseClient.ts';
import type { LeaseGrant } from '@sluice/protocol/leaseMessages.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import type { LeaseServer } from './adapters/leaseServer.ts';
import { PULLER } from './testLeases.ts';

/** What a holder was told is so. */
export type Told =
  | { readonly of: 'terms'; readonly grant: LeaseGrant }
  | { readonly of: 'end'; readonly leaseId: string; readonly usedBytes: number };

interface CrashHoldersOptions {
  /** Of each origin. */
  readonly limits: {
    readonly maxConnections: number;
    readonly maxBandwidthBytesPerSecond: number;
  };
  readonly clock: Clock;
  readonly random: Random;
  readonly server: LeaseServer;
}

/** A request is given up sooner than the lease ends that it is for. */
const GIVE_UP_MS = 8_000;
/** Between requests that were refused. */
const WAIT_MS = 300;
const MOST_RENEWALS = 3;
const WANT = { wantRateBytesPerSecond: 1e9, wantConnections: 2, timeToFirstByteMs: 10 };

const { signal } = new AbortController();

interface Held {
  readonly uid: string;
  grant: LeaseGrant;
  /** Sequence of the request that it answers. */
  heard: number;
  /** On the holders' clock. */
  endsAtMs: number;
  usedBytes: number;
}

/** What all of them were told, have taken and may take: as their origins would see them. */
export class CrashHolders {
  /** Who is asked. */
  server: LeaseServer;
  isOver = false;
  readonly told: Told[] = [];
  /** What they had together and should not have. */
  readonly excesses: string[] = [];
  readonly #options: CrashHoldersOptions;
  readonly #held = new Set<Held>();
  readonly #takenBytes = new Map<string, number>();
  #sequence = 0;

  constructor(options: CrashHoldersOptions) {
    this.#options = options;
    this.server = options.server;
  }

  /** Whether anybody heard of it or not. */
  takenBytes(uid: string): number {
    return this.#takenBytes.get(uid) ?? 0;
  }

  /** One lease after the other, renewed some times and settled, with all its pieces unfinished. */
  async run(id: string, uid: string): Promise<void> {
    const { clock, random } = this.#options;
    const client = new LeaseClient(id.padEnd(8, '-'), {
      clock,
      random: () => random.next(),
      nextSequence: () => {
        this.#sequence += 1;
        return this.#sequence;
      },
      post: (request) => this.server.ask(id, request),
    });
    while (!this.isOver) {
      const acquire = { op: 'acquire' as const, uid, epoch: 1, pullerKey: PULLER, ...WANT };
      const granted = grantedBy(await answerTo(client, acquire));
      if (granted === undefined) {
        await sleep(clock, WAIT_MS, signal);
        continue;
      }
      const held: Held = { uid, usedBytes: 0, ...granted };
      this.#held.add(held);
      await this.#use(client, held);
      this.#held.delete(held);
      const { leaseId, version, extents: unfinished } = held.grant;
      const { usedBytes, heard } = held;
      const settle = { op: 'settle' as const, leaseId, version, usedBytes, heard, unfinished };
      const end = await answerTo(client, settle);
      if (end?.answer.outcome === 'settled') this.told.push({ of: 'end', leaseId, usedBytes });
    }
  }

  async #use(client: LeaseClient, held: Held): Promise<void> {
    this.#hears(held);
    const renewals = Math.floor(this.#options.random.next() * (MOST_RENEWALS + 1));
    for (let renewal = 0; renewal < renewals; renewal += 1) {
      const { leaseId, version, extents: unfinished } = held.grant;
      const { usedBytes, heard } = held;
      const work = { leaseId, version, usedBytes, heard, unfinished };
      const granted = grantedBy(await answerTo(client, { op: 'renew', ...work, ...WANT }));
      if (granted === undefined) return;
      Object.assign(held, granted);
      this.#hears(held);
    }
  }

  /** It takes a third of what it still may, and what all have together is looked at. */
  #hears(held: Held): void {
    this.told.push({ of: 'terms', grant: held.grant });
    const now = this.#options.clock.now();
    if (now >= held.endsAtMs) return;
    const bytes = Math.floor((held.grant.maxBytes - held.usedBytes) / 3);
    held.usedBytes += bytes;
    this.#takenBytes.set(held.uid, this.takenBytes(held.uid) + bytes);
    const { maxConnections, maxBandwidthBytesPerSecond } = this.#options.limits;
    let [connections, rate] = [0, 0];
    for (const { uid, endsAtMs, grant } of this.#held) {
      if (uid !== held.uid || now >= endsAtMs) continue;
      connections += grant.connections;
      rate += grant.rateBytesPerSecond;
    }
    if (connections > maxConnections) this.excesses.push(`${connections} connections`);
    if (rate > maxBandwidthBytesPerSecond) this.excesses.push(`${rate} bytes a second`);
  }
}

/** Undefined: the server was killed, and what it would have said is not known. */
async function answerTo(client: LeaseClient, ask: LeaseAsk): Promise<LeaseReply | undefined> {
  try {
    return await client.lease(ask, GIVE_UP_MS, signal);
  } catch (error) {
    if (error instanceof ControlError) return undefined;
    throw error;
  }
}

function grantedBy(
  reply: LeaseReply | undefined,
): Pick<Held, 'grant' | 'heard' | 'endsAtMs'> | undefined {
  if (reply?.answer.outcome !== 'granted') return undefined;
  const { answer, requestedAtMs, sequence: heard } = reply;
  return { grant: answer.grant, heard, endsAtMs: requestedAtMs + answer.grant.ttlMs };
}
