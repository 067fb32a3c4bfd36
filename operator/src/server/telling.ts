/**
 * Tells every connected process what it is to do now, as the difference from what it was told
 * before. Looked at are the distributions of which something has changed, all of them when processes
 * have come or gone. Who is to be told what is decided in work.ts, waves.ts and standIns.ts.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { ProcessKind, Task } from '@sluice/protocol/messages.ts';
import type { DistributionPlan, OriginPolicy } from '../controllers/dataSide.ts';
import { agentsMayKnow } from '../policies/topUp.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import type { Departures } from './departures.ts';
import type { Donations } from './donations.ts';
import { type FleetProcess, type FleetView, isFailedRelay } from './fleetView.ts';
import { Members } from './members.ts';
import type { NodeBook } from './nodeBook.ts';
import { PeersPace } from './peersPace.ts';
import type { Removals } from './removals.ts';
import { Resting } from './resting.ts';
import type { StandIns } from './standIns.ts';
import {
  difference,
  domainIn,
  earlierEpochs,
  NO_WORK,
  type Removal,
  sameTask,
  type TaskMore,
  taskFor,
  type Work,
} from './work.ts';

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
  readonly donations: Pick<Donations, 'look' | 'kinOf'>;
  readonly distributions: () => ReadonlyMap<string, ToldDistribution>;
  readonly policies: () => readonly OriginPolicy[];
  /** Everything that can be said of any distribution has been said to the coordinator. */
  readonly isPrimed: () => boolean;
  /** This agent is to pull this distribution, or to sign what it has of it. */
  readonly entrust: (process: FleetProcess, uid: string) => void;
  /** Processes have heard that this distribution is to go. */
  readonly told: (uid: string) => void;
}

type Tasks = Readonly<Record<ProcessKind | 'standIn', Task>>;

/** What is kept of a distribution from one look at it to the next. */
interface Kept {
  readonly members: Members;
  readonly pace: PeersPace;
  /** For lists that wait. */
  again: Timer | undefined;
  /** As they were told: most looks bring the same ones, and then nobody compares them. */
  tasks: Tasks | undefined;
}

/** Changes within this time are told together. */
const TELL_MS = 100;
/**
 * And it rests for so many times as long as the last look took. While thousands of processes come to
 * a new leader something changes in each moment, most lists of peers with it, and a look at all
 * distributions takes a good part of a second: without a rest they would be told and not let in.
 */
const RESTS = 4;

export class Telling {
  readonly #deps: TellingDependencies;
  /** By distribution. */
  readonly #kept = new Map<string, Kept>();
  /** By distribution: who was told something of it that holds. */
  readonly #told = new Map<string, ReadonlyMap<FleetProcess, Work>>();
  /** Distributions to be looked at next. */
  #due = new Set<string>();
  #isAllDue = false;
  readonly #resting = new Resting();
  #timer: Timer | undefined;
  #restsUntilMs = Number.NEGATIVE_INFINITY;

  constructor(dependencies: TellingDependencies) {
    this.#deps = dependencies;
  }

  /** Processes may have to hear of a change of this distribution; undefined: of any. */
  soon(uid?: string): void {
    if (uid === undefined) this.#isAllDue = true;
    else this.#due.add(uid);
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
    this.#due.clear();
    this.#isAllDue = false;
    for (const { again } of this.#kept.values()) again?.cancel();
    this.#kept.clear();
    this.#told.clear();
    this.#resting.clear();
  }

  #tell(): void {
    const { fleet, removals, told } = this.#deps;
    const processes = fleet.connected();
    const uids = this.#takeDue();
    for (const uid of uids) this.#tellOf(uid, processes);
    this.#tellSynced(processes);
    for (const uid of uids) if (removals.has(uid)) told(uid);
  }

  #takeDue(): ReadonlySet<string> {
    const { distributions, donations, removals } = this.#deps;
    const due = this.#due;
    const isAllDue = this.#isAllDue;
    this.#due = new Set();
    this.#isAllDue = false;
    // What is gone comes first: then there is room on disks for what is new.
    if (isAllDue) {
      return new Set([...removals.uids(), ...this.#told.keys(), ...distributions().keys()]);
    }
    for (const uid of [...due]) for (const kin of donations.kinOf(uid)) due.add(kin);
    return new Set([...[...due].filter((uid) => removals.has(uid)), ...due]);
  }

  #tellOf(uid: string, processes: readonly FleetProcess[]): void {
    const work = this.#workOn(uid, processes);
    for (const process of this.#told.get(uid)?.keys() ?? []) {
      if (!work.has(process)) this.#say(process, uid, undefined);
    }
    for (const [process, own] of work) this.#say(process, uid, own);
    this.#resting.set(uid, this.#restingOf(uid, processes, work));
    if (work.size > 0) this.#told.set(uid, work);
    else this.#told.delete(uid);
  }

  /** Undefined: it has no part in the distribution. */
  #say({ stream, told, reports }: FleetProcess, uid: string, work: Work | undefined): void {
    if (stream === undefined) return;
    for (const message of difference(told.get(uid), work)) {
      // What a process says from now on is its answer to a tombstone.
      if (message.type === 'remove' && message.epoch === undefined) reports.forget(uid);
      stream.send(message);
    }
    if (work === undefined) told.delete(uid);
    else told.set(uid, work);
  }

  /** To each process that has been told of everything by now. */
  #tellSynced(processes: readonly FleetProcess[]): void {
    const { distributions, isPrimed } = this.#deps;
    if (!isPrimed() || ![...distributions().values()].every(({ book }) => book.isSure)) return;
    for (const process of processes) {
      const { stream } = process;
      if (stream === undefined) continue;
      const resting = this.#resting.newsFor(process, stream);
      if (process.synced && resting === undefined) continue;
      process.synced = true;
      stream.send({ type: 'synced', ...(resting !== undefined && { resting }) });
    }
  }

  /** Agents that may have files of it, and nothing to do for it now. */
  #restingOf(
    uid: string,
    processes: readonly FleetProcess[],
    work: ReadonlyMap<FleetProcess, Work>,
  ): readonly FleetProcess[] {
    const { distributions, removals } = this.#deps;
    const book = distributions().get(uid)?.book;
    if (book === undefined || removals.has(uid)) return [];
    const { plan, hasLeavers } = book;
    if (!plan.suspend && plan.maxParallelNodes === undefined && !hasLeavers) return [];
    return processes.filter((process) => {
      if (process.kind !== 'agent' || work.has(process)) return false;
      return domainIn(plan, process) !== undefined || book.isLeaver(process.node);
    });
  }

  #workOn(uid: string, processes: readonly FleetProcess[]): ReadonlyMap<FleetProcess, Work> {
    const { departures, distributions, removals } = this.#deps;
    const work = new Map<FleetProcess, Work>();
    const distribution = distributions().get(uid);
    if (distribution === undefined) this.#forget(uid);
    else this.#addMembers(work, uid, distribution, processes);
    const remove = (process: FleetProcess, removal: Removal) =>
      work.set(process, { ...NO_WORK, removals: [removal] });
    departures.sendOff(uid, processes, remove);
    removals.tell(uid, processes, remove);
    return work;
  }

  #addMembers(
    work: Map<FleetProcess, Work>,
    uid: string,
    { book, standIns, revoked }: ToldDistribution,
    processes: readonly FleetProcess[],
  ): void {
    const { plan } = book;
    const now = this.#deps.clock.now();
    const agents = this.#deps.fleet.agents();
    const kept = this.#keptOf(uid);
    const takesPart = book.turns(agents, now);
    const members = kept.members
      .of(plan, processes)
      .filter(({ process: { kind, node } }) => kind === 'relay' || takesPart(node));
    const peers = kept.members.peers(members);
    const policies = this.#deps.policies();
    const policy = coveringPolicy(plan.record.url, policies);
    const seen = { book, members, agents, isDisputed: revoked.length > 0 };
    const { donors, signers } = this.#deps.donations.look(uid, seen, now);
    const tasks = tasksOf(plan, policy, { revokedPullers: revoked, donors, policies }, kept.tasks);
    kept.tasks = tasks;
    // Over HTTP alone nobody would have anything of what one of them pulls.
    const mayPull = agentsMayKnow(plan, policy) && plan.delivery.transport !== 'HTTP';
    const isNeeded = mayPull && !plan.suspend && !book.hasSource(agents);
    // A relay that cannot work on it is none.
    const able = members.filter(({ process }) => !isFailedRelay(process, plan.record));
    const pulls = standIns.choose(able, isNeeded, now);
    kept.pace.begin(members, now);
    for (const { process } of members) {
      const { id, kind, reports } = process;
      const told = process.told.get(uid);
      // With another epoch a list is told anyway.
      const known = told?.task?.epoch === plan.record.epoch ? told.peers : undefined;
      const [isPuller, isSigner] = [pulls.has(id), signers.has(id)];
      if (isPuller || isSigner) this.#deps.entrust(process, uid);
      const task = tasks[isPuller ? 'standIn' : kind];
      work.set(process, {
        task: isSigner ? { ...task, signs: true } : task,
        peers: kept.pace.listFor(process, known, peers.get(id) ?? []),
        removals: earlierEpochs(plan, kind, (epoch) => reports.get(uid, epoch)?.state),
      });
    }
    kept.again?.cancel();
    const { waitMs } = kept.pace;
    kept.again =
      waitMs === undefined ? undefined : this.#deps.clock.setTimer(waitMs, () => this.soon(uid));
  }

  #keptOf(uid: string): Kept {
    const known = this.#kept.get(uid);
    if (known !== undefined) return known;
    const pace = new PeersPace();
    const kept = { members: new Members(), pace, again: undefined, tasks: undefined };
    this.#kept.set(uid, kept);
    return kept;
  }

  #forget(uid: string): void {
    this.#kept.get(uid)?.again?.cancel();
    this.#kept.delete(uid);
  }
}

/** Those that are as they were are the same. */
function tasksOf(
  plan: DistributionPlan,
  policy: OriginPolicy | undefined,
  more: TaskMore,
  before: Tasks | undefined,
): Tasks {
  const task = (name: keyof Tasks) => {
    const made =
      name === 'standIn'
        ? taskFor(plan, 'agent', policy, { ...more, pulls: true })
        : taskFor(plan, name, policy, more);
    const known = before?.[name];
    return known !== undefined && sameTask(known, made) ? known : made;
  };
  return { relay: task('relay'), agent: task('agent'), standIn: task('standIn') };
}
