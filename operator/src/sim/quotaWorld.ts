/**
 * Control servers, their database, holders and an origin, with all that lies between them. Who
 * leads is decided here, and nobody else is told in time.
 */
import { generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import type { SnapshotEvery } from '../quota/compaction.ts';
import type { LeasedDistribution } from '../quota/leases.ts';
import { ControlNetwork } from './controlNetwork.ts';
import { ControlServer } from './controlServer.ts';
import { Faults } from './faults.ts';
import { Machine } from './machine.ts';
import { type OracleLimits, OriginOracle } from './originOracle.ts';
import {
  everythingUnder,
  type OriginPlan,
  PLACES,
  partsOf,
  policiesOf,
  STREAM_HOST,
} from './originPlan.ts';
import { OriginStatuses } from './originStatuses.ts';
import { pick } from './pick.ts';
import { sourceAt } from './simulatedConnection.ts';
import { SimulatedDatabase } from './simulatedDatabase.ts';
import { SimulatedHolder } from './simulatedHolder.ts';
import { SimulatedOrigin } from './simulatedOrigin.ts';

export interface QuotaWorldOptions {
  readonly seed: number;
  /** Of what goes wrong by chance, how much does here. */
  readonly chances: number;
  /** Between clocks and true time, at most. */
  readonly drift: number;
  readonly servers: number;
  readonly relays: number;
  readonly agents: number;
  readonly closeAfterMs: number;
  readonly latencyMs: number;
  /** Whether the status of Origins has marks of the journals, or nobody keeps any. */
  readonly hasMarks: boolean;
  /** Whether the database is backed up, and may go back. */
  readonly hasBackups: boolean;
  /** How long journals grow before a snapshot is taken. */
  readonly snapshotEvery: SnapshotEvery;
  /** Of the one Origin that there is at first. */
  readonly limits: OracleLimits;
  /** Of each host that no Origin covers; undefined: nothing is taken there. */
  readonly uncovered: OracleLimits | undefined;
  /** Until a period of traffic ends, on the true calendar. */
  readonly periodEndsInMs: number;
  /** Whether one of the distributions is at a host that gives no ranges. */
  readonly hasStream: boolean;
}

export const PERIOD_SECONDS = 3_600;
const PIECE_BYTES = 65_536;
const PIECES = 2_048;
/** Of packets that are on their way when a lease is over. */
const LATEST_PACKET_MS = 5_000;
/** Clocks of the calendar differ by no more, together less than what the design allows. */
export const MAX_SKEW_MS = 25_000;
const REPORT_MS = 1_000;
const BACKUP_MS = 6_000;
const DEFAULT_CLOSE_AFTER_MS = 120_000;
const keys = generateFeedKeyPair();
const pullerKey = generateFeedKeyPair().publicKey.toString('base64');

export class QuotaWorld {
  readonly clock = new VirtualClock();
  readonly random: SeededRandom;
  readonly faults: Faults;
  readonly oracle: OriginOracle;
  readonly database: SimulatedDatabase;
  readonly statuses: OriginStatuses;
  readonly origin: SimulatedOrigin;
  readonly network: ControlNetwork;
  readonly servers: ControlServer[] = [];
  readonly holders: SimulatedHolder[] = [];
  readonly problems: string[] = [];
  leader: ControlServer | undefined;
  plan: OriginPlan;
  /** The longest that what was lost may be counted: where no Origin is, the operator's own time holds. */
  closeAfterMs: number;
  readonly #options: QuotaWorldOptions;
  readonly #wallStartMs: number;
  readonly #skews = new Map<string, number>();
  /** Processes whose end the kubelet has reported. */
  readonly #ended: string[] = [];
  readonly #places: readonly string[];
  #distributions: LeasedDistribution[];
  #term = 0;
  #runs = 0;

  constructor(options: QuotaWorldOptions) {
    this.#options = options;
    const { seed, limits, closeAfterMs, latencyMs } = options;
    this.#places = [...PLACES, ...(options.hasStream ? [STREAM_HOST] : [])];
    this.plan = everythingUnder(limits);
    this.closeAfterMs = closeAfterMs;
    this.random = new SeededRandom(seed);
    this.faults = new Faults(this.random, options.chances);
    this.oracle = new OriginOracle({
      parts: this.#parts(),
      periodMs: PERIOD_SECONDS * 1000,
      lostMs: closeAfterMs + LATEST_PACKET_MS,
    });
    const { clock: world, random, faults, oracle } = this;
    const skewMs = this.#skew();
    this.#wallStartMs = PERIOD_SECONDS * 1000 * 500_000 - options.periodEndsInMs;
    this.database = new SimulatedDatabase(world, random, faults);
    this.statuses = new OriginStatuses({ world, random, faults });
    this.statuses.names = this.plan.map(({ name }) => name);
    this.origin = new SimulatedOrigin(
      {
        closeAfterMs,
        latencyMs,
        sizeBytes: PIECE_BYTES * PIECES,
        streams: STREAM_HOST,
        places: this.#places,
        wallMs: () => this.wallMs() + skewMs,
      },
      { world, random, faults, oracle },
    );
    this.network = new ControlNetwork({
      world,
      random,
      faults,
      servers: () => this.servers,
      leader: () => this.leader,
    });
    this.#distributions = this.#places.map((place) => distributionAt(place, place !== STREAM_HOST));
  }

  begin(): void {
    for (let at = 0; at < this.#options.servers; at += 1) this.servers.push(this.newServer(at));
    this.elect(this.servers[0] as ControlServer);
    const kinds = { relay: this.#options.relays, agent: this.#options.agents };
    for (const kind of ['relay', 'agent'] as const) {
      for (let at = 0; at < kinds[kind]; at += 1) {
        this.holders.push(this.newHolder(kind, `${kind}-${at + 1}`));
      }
    }
    this.#reportHeld();
    if (this.#options.hasBackups) this.#backUp();
  }

  newServer(at: number): ControlServer {
    const machine = this.#machine(`server-${at + 1}`);
    const server: ControlServer = new ControlServer({
      machine,
      clockDrift: this.#options.drift,
      uncovered: this.#options.uncovered,
      snapshotEvery: this.#options.snapshotEvery,
      store: this.database.storeOf(machine),
      random: this.random,
      wallClock: () => this.wallMs() + (this.#skews.get(machine.name) ?? 0),
      onLost: () => this.#electLater(server),
      onBroken: (error) => this.problems.push(error.message),
      onAsk: (id, uid, epoch) => {
        const called = this.holders.find(({ holder }) => holder.id === id);
        if (called !== undefined) this.network.call(called, uid, epoch);
      },
    });
    server.know(this.#policies(), this.#distributions);
    if (this.#options.hasMarks) this.statuses.follow(server);
    machine.onDeath(() => {
      this.origin.ended(machine, true);
      this.clock.setTimer(1_000 + this.random.next() * 4_000, () => {
        this.servers[at] = this.newServer(at);
      });
      this.#electLater(server);
    });
    return server;
  }

  newHolder(kind: 'relay' | 'agent', name: string): SimulatedHolder {
    const machine = this.#machine(name);
    const incarnation = String(this.#runs).padStart(8, '0');
    const holder: SimulatedHolder = new SimulatedHolder(
      { kind, incarnation, pullerKey },
      {
        machine,
        random: this.random,
        origin: this.origin,
        post: (request, signal) => this.network.post(holder, request, signal),
      },
    );
    for (const each of this.#distributions) this.#pull(holder, each);
    return holder;
  }

  /**
   * Nobody else is told: they find out when they write, or hear of it later. Where the database may
   * go back nothing but the Lease stops a leader of the past, and it does (adr/0019).
   */
  elect(server: ControlServer): void {
    this.#term += 1;
    this.leader = server;
    for (const each of this.servers) {
      if (each === server || !each.leads) continue;
      const told = () => {
        if (this.leader !== each && each.leads) each.stepDown();
      };
      if (this.#options.hasBackups) told();
      else this.clock.setTimer(this.random.next() * 20_000, () => each.machine.enter(told));
    }
    server.machine.enter(() => {
      server.know(this.#policies(), this.#distributions);
      const loadMarks = () => this.statuses.load(server.machine);
      server.lead(this.#term, this.#options.hasMarks ? loadMarks : undefined);
      this.clock.settleSoon();
    });
    this.clock.setTimer(500, () => {
      for (const id of this.#ended) this.#tellEnded(id);
    });
  }

  /** Another one than now, when there is one that runs. */
  failOver(): void {
    const running = this.servers.filter(({ machine }) => machine.isRunning);
    const others = running.filter((server) => server !== this.leader);
    const next = pick(others.length > 0 ? others : running, this.random);
    if (next === undefined) this.clock.setTimer(1_000, () => this.failOver());
    else this.elect(next);
  }

  /** A process ends; its kernel lives on, or does not. */
  killHolder(at: number, hasPower: boolean): void {
    const { machine, holder } = this.holders[at] as SimulatedHolder;
    if (!machine.isAlive) return;
    machine.kill();
    // Of what its kernel closes while the way is cut, or has closed so and not told yet, the origin
    // does not hear. What the kubelet says then is no proof, and that is not tried here (adr/0029).
    const isTold = this.origin.unprovenOf(machine) <= this.network.unprovenTold(holder.id);
    const isProof = hasPower && isTold && !this.origin.isCut(machine);
    this.origin.ended(machine, hasPower);
    if (isProof) {
      this.clock.setTimer(this.random.next() * 5_000, () => {
        this.#ended.push(holder.id);
        this.#tellEnded(holder.id);
      });
    }
    this.clock.setTimer(500 + this.random.next() * 8_000, () => {
      this.holders[at] = this.newHolder(holder.kind, machine.name);
    });
  }

  /** From the control servers, the origin, or both. */
  cutOff({ machine }: SimulatedHolder, from: 'servers' | 'origin' | 'all', forMs: number): void {
    if (from !== 'servers') this.origin.cutOff(machine, forMs);
    if (from !== 'origin') this.network.cutOff(machine.name, forMs);
  }

  /** To what it was some time ago, whoever leads. Answers whether there was such a backup. */
  restoreDatabase(awayMs: number): boolean {
    if (!this.database.restore(this.statuses.marks())) return false;
    this.database.away(awayMs);
    return true;
  }

  #backUp(): void {
    this.database.backUp();
    this.clock.setTimer(BACKUP_MS * (0.5 + this.random.next()), () => this.#backUp());
  }

  jumpWallClock(server: ControlServer): void {
    this.#skews.set(server.machine.name, this.#skew());
  }

  /** Other Origins: every server hears of them in its own time. */
  edit(plan: OriginPlan): void {
    this.plan = plan;
    this.statuses.names = plan.map(({ name }) => name);
    if (!this.#isCovered()) this.closeAfterMs = Math.max(this.closeAfterMs, DEFAULT_CLOSE_AFTER_MS);
    const change = this.oracle.changed(this.#parts());
    const lifetimeMs = 10_000 * (1 + 4 * this.#options.drift) + 150;
    this.#tellAll(() => this.oracle.inForce(change, this.clock.now() + lifetimeMs));
  }

  /** As at first. */
  restorePlan(): void {
    this.edit(everythingUnder(this.#options.limits));
  }

  #tellAll(heardByAll: () => void): void {
    const waiting = new Set<Machine>();
    for (const server of this.servers) {
      if (!server.machine.isAlive) continue;
      waiting.add(server.machine);
      const heard = () => {
        if (waiting.delete(server.machine) && waiting.size === 0) heardByAll();
      };
      server.machine.onDeath(heard);
      this.clock.setTimer(this.random.next() * 200, () =>
        server.machine.enter(() => {
          server.service.setOrigins(this.#policies());
          heard();
        }),
      );
    }
  }

  /** Everything at the origin is another version now. */
  nextEpoch(): void {
    this.#distributions = this.#distributions.map((each) => ({ ...each, epoch: each.epoch + 1 }));
    const told = this.#distributions;
    for (const { machine, service } of this.servers) {
      machine.enter(() => {
        for (const each of told) service.setDistribution(each);
      });
    }
    for (const holder of this.holders) {
      holder.machine.enter(() => {
        for (const each of told) this.#pull(holder, each);
      });
    }
  }

  /** The operator asks the origin itself, under a lease. */
  probe(): void {
    const server = this.leader;
    const inRanges = this.#distributions.filter(({ ranges }) => ranges);
    const url = pick(inRanges, this.random)?.url;
    if (server === undefined || url === undefined || !server.machine.isRunning) return;
    const { machine, service } = server;
    const never = new AbortController().signal;
    service
      .charge({ url, uid: 'probe', maxBytes: 65_536 }, never, async (lease, unproven) => {
        const connection = sourceAt(this.origin, machine).connection(new URL(url));
        try {
          const range = { start: 0, end: 1 };
          const asked = { headers: {}, range, onHead: () => {}, onChunk: () => {} };
          const { wireBytes } = await connection.request(asked, lease);
          return { result: undefined, usedBytes: wireBytes };
        } finally {
          await connection.close();
          unproven(connection.unprovenEnds);
        }
      })
      .catch(() => {});
  }

  #pull(holder: SimulatedHolder, distribution: LeasedDistribution): void {
    if (holder.holder.kind === 'relay' || distribution.ranges) holder.pull(distribution);
  }

  #electLater(lost: ControlServer): void {
    if (this.leader !== lost) return;
    this.clock.setTimer(200 + this.random.next() * 2_000, () => {
      if (this.leader === lost) this.failOver();
    });
  }

  #tellEnded(holderId: string): void {
    const server = this.leader;
    server?.machine.enter(() => server.service.holderEnded(holderId));
  }

  #reportHeld(): void {
    this.clock.setTimer(REPORT_MS, () => this.#reportHeld());
    const server = this.leader;
    if (server === undefined) return;
    for (const { machine, holder, held } of this.holders.map((each) => ({
      machine: each.machine,
      holder: each.holder,
      held: (uid: string) => each.held(uid),
    }))) {
      const isHeard = machine.isRunning && !this.network.isCut(machine.name);
      if (holder.kind !== 'relay' || !isHeard || this.faults.happens('reportLost')) continue;
      for (const { uid } of this.#distributions) {
        const has = held(uid);
        if (has === undefined) continue;
        const { epoch, bitfield } = has;
        server.machine.enter(() => server.service.setHeld(uid, epoch, holder.id, bitfield));
      }
    }
  }

  #policies() {
    return policiesOf(this.plan, this.#options.closeAfterMs, PERIOD_SECONDS);
  }

  #isCovered(): boolean {
    const all = everythingUnder(this.#options.limits).flatMap(({ entries }) => entries);
    return all.every((entry) => this.plan.some(({ entries }) => entries.includes(entry)));
  }

  #parts() {
    return partsOf(this.plan, this.#places, this.#options.uncovered);
  }

  #machine(name: string): Machine {
    this.#runs += 1;
    const { drift } = this.#options;
    const share = this.random.next() < 0.5 ? Math.sign(this.random.next() - 0.5) : 0;
    const own = share === 0 ? (this.random.next() * 2 - 1) * drift : share * drift;
    return new Machine(name, this.clock, { drift: own, startMs: this.random.next() * 1e6 });
  }

  /** The true calendar. */
  wallMs(): number {
    return this.#wallStartMs + this.clock.now();
  }

  #skew(): number {
    return (this.random.next() * 2 - 1) * MAX_SKEW_MS;
  }
}

function distributionAt(place: string, ranges: boolean): LeasedDistribution {
  return {
    uid: place,
    epoch: 1,
    swarmId: '0'.repeat(40),
    url: `http://${place}/file`,
    priority: 0,
    suspend: false,
    files: [{ path: 'file', sizeBytes: PIECE_BYTES * PIECES }],
    pieceLengthBytes: PIECE_BYTES,
    pieceCount: PIECES,
    ranges,
    topUpBytes: PIECE_BYTES * PIECES,
    feedPublicKey: keys.publicKey.toString('base64'),
    feedSeed: keys.seed.toString('base64'),
    revokedPullers: [],
  };
}
