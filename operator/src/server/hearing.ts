/**
 * What processes say, and what follows from it: progress of nodes, what pullers hold, troubles with
 * a source. A process keeps its newest reports (fleetView.ts), so that a plan that comes later finds
 * them.
 */
import type { TransferReport } from '@sluice/protocol/messages.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import type { LeaseService } from '../quota/leaseService.ts';
import type { Arbiter } from './arbiter.ts';
import type { AssignmentWriter } from './assignmentWriter.ts';
import type { Departures } from './departures.ts';
import type { FleetProcess, FleetView, Turn } from './fleetView.ts';
import type { Removals } from './removals.ts';
import type { ToldDistribution } from './telling.ts';
import { domainIn, isAsked, namesSource, taskFor } from './work.ts';

export interface HeardDistribution extends ToldDistribution {
  sourceChanged: boolean;
  revoked: readonly string[];
  /**
   * Ids of agents that this leader has told to pull or to sign this epoch. What they say that they
   * hold counts, also after they were told to stop: they may have it alone.
   */
  readonly entrusted: Set<string>;
}

export interface HearingDependencies {
  readonly leases: Pick<LeaseService, 'setHeld'>;
  readonly fleet: FleetView;
  readonly rows: AssignmentWriter;
  readonly departures: Departures;
  readonly removals: Removals;
  readonly arbiter: Arbiter;
  readonly distributions: () => ReadonlyMap<string, HeardDistribution>;
  readonly policies: () => readonly OriginPolicy[];
  /** What is leased of it is another part of it now. */
  readonly leaseAgain: (distribution: HeardDistribution) => void;
  /** There is another progress. */
  readonly heard: (uid: string) => void;
  readonly tellSoon: (uid: string) => void;
}

/** Who comes to one of these, or leaves it, can change what it and others are to be told. */
const NEWS: ReadonlySet<string> = new Set(['ready', 'failed', 'removed']);

export class Hearing {
  readonly #deps: HearingDependencies;

  constructor(dependencies: HearingDependencies) {
    this.#deps = dependencies;
  }

  reported(
    process: FleetProcess,
    transfers: readonly TransferReport[],
    turns: readonly Turn[],
  ): void {
    for (const transfer of transfers) {
      const { uid, epoch } = transfer;
      const distribution = this.#deps.distributions().get(uid);
      if (distribution?.book.plan.record.epoch === epoch) {
        this.#take(process, transfer, distribution);
      }
      if (process.kind === 'agent') this.#deps.departures.seeOff(process, uid);
      this.#deps.heard(uid);
    }
    for (const turn of turns) {
      if (this.#isNews(process, turn)) this.#deps.tellSoon(turn.transfer.uid);
    }
  }

  /** Whether somebody may have to be told something else now. */
  #isNews({ kind }: FleetProcess, { transfer: { state }, before }: Turn): boolean {
    // What relays are filling others wait for; and what an agent says first may be less than what an
    // earlier leader wrote down.
    if (kind === 'relay' || before === undefined) return true;
    return NEWS.has(before) || NEWS.has(state);
  }

  /**
   * What was reported before the plan was known here counts, too: by agents of these nodes;
   * undefined: by all. Not by others, or each look at a plan would take in the whole fleet. Nor by an
   * agent of a machine that had the name of a node before: it may be heard of for a while yet.
   */
  again(distribution: HeardDistribution, joined: ReadonlySet<string> | undefined): void {
    const { book } = distribution;
    // At most looks at a plan, and there are ten thousand to ask.
    if (joined?.size === 0 && !book.hasLeavers) return;
    const { uid, epoch } = book.plan.record;
    for (const process of this.#deps.fleet.list()) {
      if (process.kind === 'agent') this.#deps.departures.seeOff(process, uid);
      if (joined !== undefined && !joined.has(process.node)) continue;
      const report = process.reports.get(uid, epoch);
      if (report === undefined) continue;
      if (process.kind === 'agent' && book.isReplaced(process)) this.#unsay(process, uid, epoch);
      else this.#take(process, report, distribution);
    }
  }

  /**
   * It is gone, or silent: what it held may be pulled again. What that is its newest reports need not
   * say: of an agent that pulled, or signed, a while ago they do not any more.
   */
  dropHeld({ id }: FleetProcess): void {
    for (const [uid, { book }] of this.#deps.distributions()) {
      this.#deps.leases.setHeld(uid, book.plan.record.epoch, id, undefined);
    }
  }

  /** It is to pull or to sign: what it has said that it holds, to an earlier leader perhaps, counts. */
  entrust(process: FleetProcess, uid: string): void {
    const distribution = this.#deps.distributions().get(uid);
    if (distribution === undefined || distribution.entrusted.has(process.id)) return;
    distribution.entrusted.add(process.id);
    const { epoch } = distribution.book.plan.record;
    const report = process.reports.get(uid, epoch);
    if (report !== undefined) this.#take(process, report, distribution);
  }

  /** What agents have said of nodes that were installed anew since. */
  forgetWord(uid: string, epoch: number, nodes: ReadonlySet<string>): void {
    if (nodes.size === 0) return;
    for (const process of this.#deps.fleet.list()) {
      if (process.kind === 'agent' && nodes.has(process.node)) {
        this.#unsay(process, uid, epoch);
      }
    }
  }

  #unsay(process: FleetProcess, uid: string, epoch: number): void {
    process.reports.forget(uid, epoch);
    this.#deps.fleet.hangUp(process);
  }

  /** Of distributions that are gone, and of epochs that nobody asks for. */
  forgetReports(): void {
    for (const process of this.#deps.fleet.list()) {
      const { reports } = process;
      for (const { uid, epoch } of reports.all()) {
        const newest = this.#deps.distributions().get(uid)?.book.plan.record.epoch;
        const isWanted =
          newest === undefined ? this.#deps.removals.awaits(process, uid) : isAsked(epoch, newest);
        if (!isWanted) reports.forget(uid, epoch);
      }
    }
  }

  #take(process: FleetProcess, transfer: TransferReport, distribution: HeardDistribution): void {
    const { plan } = distribution.book;
    // A process that was taken over knows no more of others' distributions than their uids.
    if (domainIn(plan, process) === undefined) return;
    const { kind } = process;
    const isTrusted = kind === 'relay' || distribution.entrusted.has(process.id);
    if (transfer.error?.reason === 'SourceChanged') {
      const policy = coveringPolicy(plan.record.url, this.#deps.policies());
      // Nobody else has asked it.
      if (isTrusted || namesSource(plan, kind, policy)) distribution.sourceChanged = true;
    }
    if (isTrusted) this.#takeHeld(process, transfer, distribution);
    if (kind === 'relay') return;
    // What a newer agent says besides is not ours to keep.
    const { state, verifiedBytes, rateBytesPerSecond, error } = transfer;
    const { fromPeers, fromRelays, fromRelayHttp, fromOrigin } = transfer.received;
    const progress = {
      state,
      verifiedBytes,
      rateBytesPerSecond,
      received: { fromPeers, fromRelays, fromRelayHttp, fromOrigin },
      ...(error && { error: { reason: error.reason, message: error.message } }),
    };
    const { book } = distribution;
    const wasReady = book.recordOf(process.node).state === 'ready';
    if (wasReady && looksStill(transfer, plan.record.source.sizeBytes)) return;
    const wasEverywhere = book.isEverywhere;
    const row = book.take(process.node, progress);
    if (row !== undefined) this.#deps.rows.note(row);
    if (book.isEverywhere === wasEverywhere) return;
    this.#deps.leaseAgain(distribution);
    // However this leader ends, the next one is to know that nobody needs anything of it.
    this.#deps.rows.save((uid) => this.#deps.distributions().has(uid), transfer.uid);
  }

  /** What a process that pulls or signs says that it holds. */
  #takeHeld(
    process: FleetProcess,
    transfer: TransferReport,
    distribution: HeardDistribution,
  ): void {
    const { uid, epoch } = transfer;
    const { revoked } = distribution;
    const { plan } = distribution.book;
    if (transfer.disputes !== undefined) {
      const policy = coveringPolicy(plan.record.url, this.#deps.policies());
      const task = taskFor(plan, 'relay', policy, { revokedPullers: revoked });
      this.#deps.arbiter.consider(task, transfer.disputes);
    }
    // What it said before it had heard of a revocation may be worth nothing.
    const isUpToDate = (transfer.revokedPullers ?? 0) >= revoked.length;
    if (transfer.bitfield === undefined || !isUpToDate) return;
    const bitfield = Buffer.from(transfer.bitfield, 'base64');
    const { spread } = transfer;
    const spreadBitfield = spread === undefined ? undefined : Buffer.from(spread, 'base64');
    this.#deps.leases.setHeld(uid, epoch, process.id, bitfield, spreadBitfield);
  }
}

/**
 * An agent that has begun anew opens what it has, and knows of nothing that it lacks. Of a node that
 * had all of it that is no news: it would be one that others are to pull for, until it has looked.
 */
function looksStill({ state, verifiedBytes }: TransferReport, sizeBytes: number): boolean {
  if (state === 'pending') return true;
  return (state === 'transferring' || state === 'verifying') && verifiedBytes === sizeBytes;
}
