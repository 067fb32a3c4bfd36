/**
 * Tells every connected process what it is to do now, as the difference from what it was told
 * before. Who is to be told what is decided in work.ts, waves.ts and standIns.ts.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { Peer } from '@sluice/protocol/messages.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { agentsMayKnow } from '../policies/topUp.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import type { Departures } from './departures.ts';
import type { Donations } from './donations.ts';
import { type FleetProcess, type FleetView, statesOf } from './fleetView.ts';
import type { Agents, NodeBook } from './nodeBook.ts';
import type { Removals } from './removals.ts';
import type { StandIns } from './standIns.ts';
import { type Desired, difference, earlierEpochs, membersOf, peersOf, taskFor } from './work.ts';

export interface ToldDistribution {
  readonly book: NodeBook;
  readonly standIns: StandIns;
  /** Of the plan's epoch: pullers whose word does not count, raw keys in base64. */
  readonly revoked: readonly string[];
}

export interface TellingDependencies {
  readonly clock: Clock;
  readonly fleet: FleetView;
  readonly removals: Removals;
  readonly departures: Departures;
  readonly donations: Pick<Donations, 'look'>;
  readonly distributions: () => ReadonlyMap<string, ToldDistribution>;
  readonly policies: () => readonly OriginPolicy[];
  /** Everything that can be said of any distribution has been said to the coordinator. */
  readonly isPrimed: () => boolean;
  /** This agent is to pull this distribution, or to sign what it has of it. */
  readonly entrust: (process: FleetProcess, uid: string) => void;
  /** Processes have heard that this distribution is to go. */
  readonly told: (uid: string) => void;
}

/** What a process is to do, while it is put together. */
type Draft = {
  readonly [Part in keyof Desired]: Desired[Part] extends ReadonlyMap<infer Key, infer Value>
    ? Map<Key, Value>
    : never;
};

interface Member {
  readonly process: FleetProcess;
  readonly domain: string;
}

/** By process id. */
type Peers = ReadonlyMap<string, readonly Peer[]>;

/** Changes within this time are told together. */
const TELL_MS = 100;
/**
 * And it rests for so many times as long as the last look at all processes took. While thousands of
 * them come to a new leader something changes in each moment, most lists of peers with it, and a
 * look takes a good part of a second: without a rest they would be told and not let in.
 */
const RESTS = 4;

export class Telling {
  readonly #deps: TellingDependencies;
  /** By distribution: who knows whom, while its members are the same. */
  readonly #graphs = new Map<string, { members: readonly Member[]; peers: Peers }>();
  #timer: Timer | undefined;
  #restsUntilMs = Number.NEGATIVE_INFINITY;

  constructor(dependencies: TellingDependencies) {
    this.#deps = dependencies;
  }

  /** Something has changed that processes may have to hear of. */
  soon(): void {
    const { clock } = this.#deps;
    const delayMs = Math.max(TELL_MS, this.#restsUntilMs - clock.now());
    this.#timer ??= clock.setTimer(delayMs, () => {
      this.#timer = undefined;
      const beganMs = clock.now();
      this.#tell();
      const endedMs = clock.now();
      this.#restsUntilMs = endedMs + RESTS * (endedMs - beganMs);
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#graphs.clear();
  }

  #tell(): void {
    const { fleet, removals } = this.#deps;
    const processes = fleet.connected();
    const desired = this.#desired(processes);
    const books = [...this.#deps.distributions().values()].map(({ book }) => book);
    const isSure = this.#deps.isPrimed() && books.every((book) => book.isSure);
    for (const process of processes) {
      const { stream } = process;
      const wanted = desired.get(process.id);
      if (stream === undefined || wanted === undefined) continue;
      for (const message of difference(process.told, wanted)) {
        // What a process says from now on is its answer to a tombstone.
        if (message.type === 'remove' && message.epoch === undefined) {
          process.reports.forget(message.uid);
        }
        stream.send(message);
      }
      process.told = wanted;
      if (isSure && !process.synced) {
        process.synced = true;
        stream.send({ type: 'synced' });
      }
    }
    for (const { uid } of removals.tombstones()) this.#deps.told(uid);
  }

  #desired(processes: readonly FleetProcess[]): ReadonlyMap<string, Desired> {
    const all = new Map<string, Draft>(
      processes.map(({ id }) => [id, { tasks: new Map(), peers: new Map(), removals: new Map() }]),
    );
    const agents = this.#deps.fleet.agents();
    const distributions = this.#deps.distributions();
    for (const uid of this.#graphs.keys()) if (!distributions.has(uid)) this.#graphs.delete(uid);
    for (const [uid, distribution] of distributions) {
      this.#addWork(all, uid, distribution, processes, agents);
    }
    this.#deps.departures.sendOff(processes, (id, uid, removal) => {
      all.get(id)?.removals.set(uid, removal);
    });
    this.#deps.removals.tell(processes, ({ id }, said) => {
      all.get(id)?.removals.set(said.uid, said);
    });
    return all;
  }

  #addWork(
    all: ReadonlyMap<string, Draft>,
    uid: string,
    { book, standIns, revoked }: ToldDistribution,
    processes: readonly FleetProcess[],
    agents: Agents,
  ): void {
    const { plan } = book;
    const now = this.#deps.clock.now();
    const takesPart = book.turns(agents, now);
    const members = membersOf(plan, processes).filter(
      ({ process: { kind, node } }) => kind === 'relay' || takesPart(node),
    );
    const peers = this.#peersOf(uid, members);
    const policies = this.#deps.policies();
    const policy = coveringPolicy(plan.record.url, policies);
    const seen = { book, members, agents, isDisputed: revoked.length > 0 };
    const { donors, signers } = this.#deps.donations.look(uid, seen, now);
    const more = { revokedPullers: revoked, donors, policies };
    const tasks = {
      relay: taskFor(plan, 'relay', policy, more),
      agent: taskFor(plan, 'agent', policy, more),
      standIn: taskFor(plan, 'agent', policy, { ...more, pulls: true }),
    };
    // Over HTTP alone nobody would have anything of what one of them pulls.
    const mayPull = agentsMayKnow(plan, policy) && plan.delivery.transport !== 'HTTP';
    const isNeeded = mayPull && !plan.suspend && !book.hasSource(agents);
    const pulls = standIns.choose(members, isNeeded, now);
    for (const { process } of members) {
      const desired = all.get(process.id);
      const [isPuller, isSigner] = [pulls.has(process.id), signers.has(process.id)];
      if (isPuller || isSigner) this.#deps.entrust(process, uid);
      const task = tasks[isPuller ? 'standIn' : process.kind];
      desired?.tasks.set(uid, isSigner ? { ...task, signs: true } : task);
      desired?.peers.set(uid, { epoch: plan.record.epoch, peers: peers.get(process.id) ?? [] });
      for (const removal of earlierEpochs(plan, process.kind, statesOf(process, uid))) {
        desired?.removals.set(`${uid}/${removal.epoch}`, removal);
      }
    }
  }

  #peersOf(uid: string, members: readonly Member[]): Peers {
    const known = this.#graphs.get(uid);
    const isSame = ({ process, domain }: Member, at: number) =>
      process === known?.members[at]?.process && domain === known.members[at].domain;
    if (known?.members.length === members.length && members.every(isSame)) return known.peers;
    const peers = peersOf(members);
    this.#graphs.set(uid, { members, peers });
    return peers;
  }
}
