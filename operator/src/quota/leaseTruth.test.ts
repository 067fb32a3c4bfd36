/**
 * What holders may really do at one time, by their own clocks, whatever is lost or crashes. The
 * journal is the server's belief; here is what the origin would see.
 */
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import type { LeaseAnswer, LeaseGrant, LeaseRequest } from '@sluice/protocol/leaseMessages.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeClock, settle } from '../testing/fakeClock.ts';
import {
  aLeasedDistribution,
  aLeaseService,
  anOriginPolicy,
  PIECE_BYTES,
} from '../testing/leasing.ts';
import { MemoryJournal } from '../testing/memoryJournal.ts';
import { piecesOf } from './extents.ts';
import type { LeaseService } from './leaseService.ts';

const PIECES = 60;
/** Of all nodes together: a third of the file. */
const TOP_UP_BYTES = 20 * PIECE_BYTES;
const ALL_PIECES = Buffer.alloc(Math.ceil(PIECES / 8), 0xff).toString('base64');
const LIMITS = { maxConnections: 5, maxBandwidthBytesPerSecond: 4_000_000 };
const CLOSE_AFTER_MS = 20_000;
const PULLER = generateFeedKeyPair().publicKey.toString('base64');

/** A process that keeps to the protocol. */
interface Holder {
  readonly id: string;
  readonly kind: 'relay' | 'agent';
  grant: LeaseGrant | undefined;
  /** On the true clock: when what it has in its hands ends. */
  untilMs: number;
  busy: boolean;
  /** Under the lease in its hands. */
  usedBytes: number;
}

class World {
  readonly clock = new FakeClock();
  readonly journal = new MemoryJournal();
  readonly pulled: number[] = [];
  /** By agents, of all pieces. */
  toppedUpBytes = 0;
  holders: Holder[] = [];
  service: LeaseService;
  /** Connections of holders that were lost: the origin keeps them for a while. */
  orphaned: { connections: number; untilMs: number }[] = [];
  #sequence = 0;
  #term = 0;
  #runs = 0;

  constructor(relays: number, agents: number) {
    this.service = this.lead();
    const kinds = Array.from({ length: relays + agents }, (_, at) =>
      at < relays ? ('relay' as const) : ('agent' as const),
    );
    this.holders = kinds.map((kind) => this.#newHolder(kind));
  }

  /** Who led before is not told. */
  lead(): LeaseService {
    this.#term += 1;
    this.service = aLeaseService(
      { store: this.journal, clock: this.clock },
      {
        defaultLimits: { maxConnections: 1, maxBandwidthBytesPerSecond: 100_000 },
        requireOrigin: true,
      },
    );
    this.service.setOrigins([anOriginPolicy(LIMITS, { closeAfterSeconds: CLOSE_AFTER_MS / 1000 })]);
    this.service.setDistribution(
      aLeasedDistribution({ pieceCount: PIECES, topUpBytes: TOP_UP_BYTES }),
    );
    this.service.lead(this.#term);
    return this.service;
  }

  /** One request of a holder; `heard`: whether the answer comes back. */
  act(holder: Holder, heard: boolean, done: number): void {
    if (holder.busy) return;
    const now = this.clock.now();
    if (holder.grant !== undefined && now >= holder.untilMs) holder.grant = undefined;
    const { grant } = holder;
    const want =
      holder.kind === 'relay'
        ? { wantRateBytesPerSecond: 1e9, wantConnections: 3, timeToFirstByteMs: 20 }
        : {
            wantRateBytesPerSecond: 1e6,
            wantConnections: 1,
            topUp: { acceptable: ALL_PIECES, wantBytes: 1e6 },
          };
    if (grant === undefined) {
      const pullerKey = holder.kind === 'relay' ? { pullerKey: PULLER } : {};
      const request = { op: 'acquire' as const, uid: 'a', epoch: 1, ...pullerKey, ...want };
      this.#send(holder, request, heard);
      return;
    }
    const { leaseId, version, extents } = grant;
    const pieces = [...piecesOf(extents)];
    const finished = pieces.slice(0, done);
    const usedBytes = holder.usedBytes + finished.length * PIECE_BYTES;
    if (holder.kind === 'relay') this.pulled.push(...finished);
    else this.toppedUpBytes += finished.length * PIECE_BYTES;
    const unfinished = pieces.slice(done).map((first) => ({ first, count: 1 }));
    holder.grant = { ...grant, extents: unfinished };
    holder.usedBytes = usedBytes;
    const base = { leaseId, version, usedBytes, unfinished };
    if (unfinished.length > 0) this.#send(holder, { op: 'renew', ...base, ...want }, heard);
    else {
      // Its sockets are closed before it says so.
      holder.grant = undefined;
      this.#send(holder, { op: 'settle', ...base }, heard);
    }
  }

  /** Its kernel closes its sockets; the kubelet says so later. */
  kill(holder: Holder, reportedAfterMs: number): void {
    const { service } = this;
    this.clock.setTimer(reportedAfterMs, () => service.holderEnded(holder.id));
    this.holders = this.holders.map((each) =>
      each === holder ? this.#newHolder(holder.kind) : each,
    );
  }

  /** Its node is gone: nobody closes anything but the origin. */
  lose(holder: Holder): void {
    const now = this.clock.now();
    const { grant } = holder;
    if (grant !== undefined && now < holder.untilMs) {
      const untilMs = now + CLOSE_AFTER_MS;
      this.orphaned.push({ connections: grant.connections, untilMs });
    }
    this.holders = this.holders.map((each) =>
      each === holder ? this.#newHolder(holder.kind) : each,
    );
  }

  /** What the origin may see now. */
  check(): void {
    const now = this.clock.now();
    const grants = this.holders.flatMap(({ grant, untilMs }) =>
      grant !== undefined && now < untilMs ? [grant] : [],
    );
    const open = this.orphaned.filter(({ untilMs }) => now < untilMs);
    const connections = [...grants, ...open].reduce((sum, each) => sum + each.connections, 0);
    const window = grants.reduce((sum, each) => sum + each.rateBytesPerSecond + each.slackBytes, 0);
    expect(connections).toBeLessThanOrEqual(LIMITS.maxConnections);
    expect(window).toBeLessThanOrEqual(LIMITS.maxBandwidthBytesPerSecond);
    expect(this.toppedUpBytes).toBeLessThanOrEqual(TOP_UP_BYTES);
    const pulls = this.holders.filter(({ kind }) => kind === 'relay').map(({ grant }) => grant);
    const pieces = grants
      .filter((grant) => pulls.includes(grant))
      .flatMap(({ extents }) => [...piecesOf(extents)]);
    expect(new Set(pieces).size).toBe(pieces.length);
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 200) {
      await this.clock.advance(Math.min(left, 200));
      this.check();
    }
  }

  #send(holder: Holder, request: object, heard: boolean): void {
    const requestedAtMs = this.clock.now();
    this.#sequence += 1;
    const base = { incarnation: 'incarnation', sequence: this.#sequence };
    holder.busy = true;
    const take = (answer: LeaseAnswer | undefined) => {
      holder.busy = false;
      if (answer?.outcome === 'gone') holder.grant = undefined;
      if (answer?.outcome !== 'granted') return;
      if (answer.grant.leaseId !== holder.grant?.leaseId) holder.usedBytes = 0;
      holder.grant = answer.grant;
      holder.untilMs = requestedAtMs + answer.grant.ttlMs;
    };
    this.service
      .answer({ id: holder.id, kind: holder.kind }, { ...base, ...request } as LeaseRequest)
      .then(
        (answer) => take(heard ? answer : undefined),
        () => take(undefined),
      );
  }

  #newHolder(kind: Holder['kind']): Holder {
    this.#runs += 1;
    const id = `run-${this.#runs}`;
    return { id, kind, grant: undefined, untilMs: 0, busy: false, usedBytes: 0 };
  }
}

type Step =
  | { kind: 'act'; holder: number; heard: boolean; done: number }
  | { kind: 'kill'; holder: number; ms: number }
  | { kind: 'lose'; holder: number }
  | { kind: 'pass'; ms: number }
  | { kind: 'fault'; fault: 'none' | 'lost' | 'down' }
  | { kind: 'lead' };

const holder = fc.nat(4);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('act' as const),
      holder,
      heard: fc.integer({ min: 0, max: 9 }).map((value) => value > 0),
      done: fc.nat(6),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('kill' as const), holder, ms: fc.nat(30_000) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lose' as const), holder }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(4_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('fault' as const),
      fault: fc.constantFrom('none' as const, 'none' as const, 'lost' as const, 'down' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lead' as const) }) },
);

describe('what the origin sees', () => {
  it('is within its limits, and no piece is pulled by two at once, whatever is lost', async () => {
    let granted = 0;
    let toppedUpBytes = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
        const world = new World(3, 2);
        await world.pass(10);
        for (const each of steps) {
          const one = 'holder' in each ? (world.holders[each.holder] as Holder) : undefined;
          if (each.kind === 'act') world.act(one as Holder, each.heard, each.done);
          if (each.kind === 'kill') world.kill(one as Holder, each.ms);
          if (each.kind === 'lose') world.lose(one as Holder);
          if (each.kind === 'pass') await world.pass(each.ms);
          if (each.kind === 'fault') world.journal.fault = () => each.fault;
          if (each.kind === 'lead') world.lead();
          await settle();
          world.check();
        }
        granted += world.pulled.length;
        toppedUpBytes += world.toppedUpBytes;
      }),
      { numRuns: 300 },
    );
    expect(granted).toBeGreaterThan(300);
    expect(toppedUpBytes / PIECE_BYTES).toBeGreaterThan(300);
  }, 60_000);

  it('is each piece once when nobody fails, whoever asks when', async () => {
    const turn = fc.record({ holder: fc.nat(2), done: fc.nat(8), ms: fc.nat(300) });
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(turn), async (turns) => {
        const world = new World(3, 0);
        await world.pass(10);
        let left = 2_000;
        for (const { holder: at, done, ms } of turns) {
          world.act(world.holders[at] as Holder, true, done);
          await world.pass(ms);
          left -= 1;
          const isOver = new Set(world.pulled).size === PIECES;
          if (isOver || left === 0) break;
        }
        expect(world.pulled.sort((a, b) => a - b)).toEqual(
          Array.from({ length: PIECES }, (_, piece) => piece),
        );
      }),
      { numRuns: 50 },
    );
  }, 60_000);
});
