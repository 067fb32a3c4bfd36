/**
 * Joins the two sides: plans of the controllers become tasks of processes (telling.ts), reports of
 * processes become progress (hearing.ts). Who may pull what is decided in quota/.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import { fileUrlOf } from '@sluice/protocol/fileUrl.ts';
import { MAX_REVOKED, type Task } from '@sluice/protocol/messages.ts';
import type { Logger } from 'winston';
import type {
  Coordinator as CoordinatorPort,
  DistributionPlan,
  DistributionProgress,
  OriginPolicy,
  OriginRefusal,
  OriginUsage,
  RefusableSource,
  ResolvedSource,
  SourceRequest,
} from '../controllers/dataSide.ts';
import { originRefusal } from '../policies/originRefusal.ts';
import { topUpBytes } from '../policies/topUp.ts';
import { coveringPolicy } from '../quota/coverage.ts';
import type { LeaseService } from '../quota/leaseService.ts';
import type { JournalMark, OriginJournals } from '../quota/marks.ts';
import type { Assignment, AssignmentStore } from '../store/assignments.ts';
import type { RevocationStore } from '../store/epochs.ts';
import { Arbiter } from './arbiter.ts';
import { AssignmentWriter } from './assignmentWriter.ts';
import { Departures } from './departures.ts';
import { type DistributionView, distributionViewOf } from './distributionView.ts';
import { Donations } from './donations.ts';
import { failedRelaysOf } from './failedRelays.ts';
import { type FleetProcess, FleetView } from './fleetView.ts';
import { type HeardDistribution, Hearing } from './hearing.ts';
import { mirrorProgress } from './mirrorProgress.ts';
import { NodeBook } from './nodeBook.ts';
import { pieceAtOrigin } from './pieceAtOrigin.ts';
import { Removals } from './removals.ts';
import { resolveSource } from './sourceResolver.ts';
import { StandIns } from './standIns.ts';
import { Telling } from './telling.ts';
import type { TorrentSource } from './torrents.ts';
import { allowedMirrors, membersOf } from './work.ts';

export interface CoordinatorDependencies {
  readonly leases: LeaseService;
  readonly assignments: AssignmentStore;
  readonly revocations: RevocationStore;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch: for times that the next leader is to know. */
  readonly wallClock: () => number;
  readonly logger: Logger;
}

const SAVE_MS = 2_000;
const SWEEP_MS = 5_000;
/** Rows that cannot be read are tried again, and nothing is said of nodes; but not for ever. */
const RECALL_MS = 30_000;
const RECALL_AGAIN_MS = 1_000;
/** A relay that was not heard of for so long: what it held may be pulled again. */
const SILENT_RELAY_MS = 15_000;

export class Coordinator implements CoordinatorPort {
  readonly fleet: FleetView;
  readonly #deps: CoordinatorDependencies;
  readonly #distributions = new Map<string, HeardDistribution>();
  readonly #departures: Departures;
  readonly #donations: Donations;
  readonly #removals: Removals;
  readonly #rows: AssignmentWriter;
  readonly #arbiter: Arbiter;
  #policies: readonly OriginPolicy[] = [];
  #listener: (uid: string) => void = () => {};
  #isPrimed = false;
  readonly #telling: Telling;
  readonly #hearing: Hearing;
  #timers: Timer[] = [];

  constructor(dependencies: CoordinatorDependencies) {
    this.#deps = dependencies;
    this.#rows = new AssignmentWriter(dependencies);
    this.#departures = new Departures({
      ...dependencies,
      rows: this.#rows,
      book: (uid) => this.#distributions.get(uid)?.book,
      uids: () => this.#distributions.keys(),
    });
    this.#donations = new Donations({
      book: (uid) => this.#distributions.get(uid)?.book,
      mayTake: (record) => this.refusalOf(record) === undefined,
      changed: (uid) => {
        const distribution = this.#distributions.get(uid);
        if (distribution !== undefined) this.#lease(distribution);
      },
      lookAgain: (uid) => this.#telling.soon(uid),
    });
    this.#arbiter = new Arbiter({
      ...dependencies,
      ask: (task, piece, signal) => pieceAtOrigin(task, piece, dependencies.leases, signal),
      revoke: (task, pullerKeys) => this.#revoke(task, pullerKeys),
    });
    this.fleet = new FleetView({
      changed: () => this.#telling.soon(),
      reported: (...report) => this.#hearing.reported(...report),
      ended: (process) => this.#ended(process),
    });
    this.#removals = new Removals({
      ...dependencies,
      processes: () => this.fleet.list(),
      changed: (uid) => this.#listener(uid),
    });
    this.#telling = new Telling({
      clock: dependencies.clock,
      fleet: this.fleet,
      removals: this.#removals,
      departures: this.#departures,
      donations: this.#donations,
      distributions: () => this.#distributions,
      policies: () => this.#policies,
      isPrimed: () => this.#isPrimed,
      entrust: (process, uid) => this.#hearing.entrust(process, uid),
      told: (uid) => this.#listener(uid),
    });
    this.#hearing = new Hearing({
      leases: dependencies.leases,
      fleet: this.fleet,
      rows: this.#rows,
      departures: this.#departures,
      removals: this.#removals,
      arbiter: this.#arbiter,
      distributions: () => this.#distributions,
      policies: () => this.#policies,
      leaseAgain: (distribution) => this.#lease(distribution),
      heard: (uid) => this.#listener(uid),
      tellSoon: (uid) => this.#telling.soon(uid),
    });
    dependencies.leases.onAsk((holder, uid, epoch) => {
      this.fleet.get(holder)?.stream?.send({ type: 'askLease', uid, epoch });
    });
    dependencies.leases.onLapsed((holder) => {
      this.fleet.lapsed(holder, dependencies.clock.now());
    });
  }

  /** While this replica leads. */
  start(): void {
    this.stop();
    this.#donations.start(this.#deps.clock.now());
    this.#every(SAVE_MS, () => this.#rows.save((uid) => this.#distributions.has(uid)));
    this.#every(SWEEP_MS, () => this.#sweep());
  }

  /** So that the next leader knows which nodes have what, and pulls nothing that they have. */
  flush(): Promise<void> {
    return this.#rows.flush();
  }

  /** Streams are closed: processes look for the next leader. */
  stop(): void {
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#telling.stop();
    this.#isPrimed = false;
    this.fleet.clear();
    this.#distributions.clear();
    this.#donations.clear();
    this.#removals.clear();
    this.#rows.clear();
    this.#arbiter.clear();
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.#policies = policies;
    this.#deps.leases.setOrigins(policies);
    this.#donations.judgeAgain();
    for (const distribution of this.#distributions.values()) this.#lease(distribution);
    this.#telling.soon();
  }

  apply(plan: DistributionPlan): void {
    const { record } = plan;
    const { uid, epoch } = record;
    const before = this.#distributions.get(uid);
    this.#removals.cancel(uid);
    let known = before;
    const isNews = known?.book.plan.record.epoch !== epoch;
    if (known === undefined || isNews) {
      this.#arbiter.forget(uid);
      const revoked = record.revokedPullers ?? [];
      const book = known?.book ?? new NodeBook(plan);
      const standIns = known?.standIns ?? new StandIns();
      known = { book, standIns, sourceChanged: false, revoked, entrusted: new Set() };
      this.#distributions.set(uid, known);
    }
    const now = this.#deps.clock.now();
    const applied = known.book.apply(plan, now);
    const { forgotten, reinstalled, left, returned } = applied;
    this.#donations.set(record, now);
    this.#rows.setLeft(uid, left, this.#deps.wallClock());
    this.#rows.setLeft(uid, returned, undefined);
    this.#rows.deleteNodes(uid, forgotten);
    this.#hearing.forgetWord(uid, epoch, reinstalled);
    this.#departures.forgetGone([uid]);
    if (before === undefined) this.#recall(uid);
    this.#lease(known);
    this.#hearing.again(known, isNews ? undefined : applied.joined);
    this.#telling.soon(uid);
  }

  setNodes(names: ReadonlySet<string>): void {
    this.#departures.setNodes(names);
  }

  primed(): void {
    this.#isPrimed = true;
    this.#telling.soon();
  }

  remove(uid: string, { deleteFiles }: { readonly deleteFiles: boolean }): void {
    if (!this.#removals.isNews({ uid, deleteFiles })) return;
    const known = this.#distributions.get(uid);
    this.#removals.begin({ uid, deleteFiles }, known?.book.holders());
    // Whoever asks later, another leader perhaps, is to know which nodes have something of it.
    this.#rows.save((each) => this.#distributions.has(each), uid);
    this.#distributions.delete(uid);
    this.#donations.remove(uid);
    this.#deps.leases.removeDistribution(uid);
    this.#arbiter.forget(uid);
    this.#telling.soon(uid);
  }

  removed(uid: string): boolean {
    // Not before they have been told.
    return this.#isPrimed && this.#removals.isOver(uid);
  }

  missing(uid: string): readonly string[] | undefined {
    return this.#isPrimed ? this.#removals.missing(uid) : undefined;
  }

  progress(uid: string): DistributionProgress | undefined {
    const distribution = this.#distributions.get(uid);
    if (distribution === undefined) return undefined;
    const { book } = distribution;
    const { plan } = book;
    const { leases } = this.#deps;
    const failure = leases.failureOf(uid, plan.record.epoch);
    return {
      epoch: plan.record.epoch,
      isUnread: !book.isRecalled,
      nodes: book.progress(this.fleet.agents()),
      originBytes: leases.originBytes(uid),
      sourceChanged: distribution.sourceChanged || failure?.reason === 'SourceChanged',
      pull: leases.troubleOf(uid, plan.record.epoch),
      ...mirrorProgress(plan, leases),
      failedRelays: failedRelaysOf(plan, this.fleet.relays()),
      isDisputed: distribution.revoked.length > 0,
    };
  }

  /** Everything that is known of a distribution, node by node. */
  view(owner: string): DistributionView | undefined {
    const uid = this.#ownedBy(owner);
    const progress = this.progress(uid);
    const plan = this.#distributions.get(uid)?.book.plan;
    if (progress === undefined || plan === undefined) return undefined;
    return distributionViewOf(plan.record, progress, this.fleet.list());
  }

  /** Where the torrent of the finished set is to be had. */
  torrentSource(owner: string): TorrentSource | undefined {
    const plan = this.#distributions.get(this.#ownedBy(owner))?.book.plan;
    if (plan === undefined) return undefined;
    const { swarmId, relayToken } = plan.record;
    const relays = membersOf(plan, this.fleet.connected()).flatMap(({ process }) => {
      const { kind, host, httpPort } = process;
      return kind === 'relay' && httpPort !== undefined ? [{ host, port: httpPort }] : [];
    });
    return { swarmId, relayToken, relays };
  }

  /** Names the data of a Distribution: its own uid, unless it has adopted another one's. */
  #ownedBy(owner: string): string {
    if (this.#distributions.has(owner)) return owner;
    const adopted = [...this.#distributions].find(
      ([, { book }]) => book.plan.record.owner === owner,
    );
    return adopted?.[0] ?? owner;
  }

  resolveSource(request: SourceRequest, signal: AbortSignal): Promise<ResolvedSource> {
    return resolveSource(request, this.#policies, this.#deps.leases, signal);
  }

  onChange(listener: (uid: string) => void): void {
    this.#listener = listener;
  }

  originUsage(name: string): OriginUsage | undefined {
    return this.#deps.leases.usage(name);
  }

  refusalOf({ uid, url, namespace }: RefusableSource): OriginRefusal | undefined {
    const record = this.#distributions.get(uid)?.book.plan.record;
    const files = record?.url === url ? record.files : [];
    const urls = files.map(({ path }) => fileUrlOf(url, path));
    return originRefusal(url, urls, namespace, this.#policies);
  }

  nameOf(uid: string): string | undefined {
    const record = this.#distributions.get(uid)?.book.plan.record;
    return record && `${record.namespace}/${record.name}`;
  }

  originJournals(name: string): OriginJournals | undefined {
    return this.#deps.leases.journalsOf(name);
  }

  originMarked(marks: readonly JournalMark[]): void {
    this.#deps.leases.marked(marks);
  }

  onOriginChange(listener: (name: string) => void): void {
    this.#deps.leases.onShort(listener);
  }

  /**
   * Whether this process has no part in the distribution. Of one that is not known here (a leader
   * of a moment ago) or is suspended nobody can say so.
   */
  isStrangerTo(process: FleetProcess, uid: string): boolean {
    const plan = this.#distributions.get(uid)?.book.plan;
    if (plan === undefined || plan.suspend) return false;
    return membersOf(plan, [process]).length === 0;
  }

  /** Whether this agent pulls because no relay does. */
  standsIn({ id }: FleetProcess, uid: string): boolean {
    return this.#distributions.get(uid)?.standIns.has(id) === true;
  }

  /** Rows of a distribution that is gone. */
  deleteRows(uid: string): Promise<void> {
    return this.#rows.delete(uid);
  }

  /** Nothing is in the store any more of a distribution that is gone. */
  forget(uid: string): void {
    this.#removals.forget(uid);
  }

  #lease({ book, revoked }: HeardDistribution): void {
    const { record, priority, suspend, ...plan } = book.plan;
    const isHeld =
      suspend || plan.lacksCredentials === true || this.refusalOf(record) !== undefined;
    const policy = coveringPolicy(record.url, this.#policies);
    this.#deps.leases.setDistribution({
      uid: record.uid,
      epoch: record.epoch,
      swarmId: record.swarmId,
      url: record.url,
      mirrors: allowedMirrors(book.plan, this.#policies).map(({ id, url }) => ({ id, url })),
      priority: Math.min(priority, policy?.maxPriority ?? priority),
      // Nothing more is taken from the origin; what is on the nodes stays, and goes on among them.
      suspend: isHeld || !book.isRecalled || book.isEverywhere,
      files: record.files,
      pieceLengthBytes: record.pieceLengthBytes,
      pieceCount: record.pieceCount,
      ranges: record.source.ranges,
      topUpBytes: topUpBytes({ ...plan, record }, policy),
      feedPublicKey: record.feedPublicKey,
      feedSeed: record.feedSeed,
      revokedPullers: revoked,
      donated: this.#donations.leased(record.uid),
    });
  }

  /** Durable before anybody hears of it: what was revoked once must not count again. */
  async #revoke({ uid, epoch }: Task, pullerKeys: readonly string[]): Promise<void> {
    const distribution = this.#distributions.get(uid);
    if (distribution?.book.plan.record.epoch !== epoch) return;
    const revoked = [...new Set([...distribution.revoked, ...pullerKeys])].slice(0, MAX_REVOKED);
    await this.#deps.revocations.saveRevoked(uid, epoch, revoked);
    distribution.revoked = revoked;
    this.#lease(distribution);
    this.#telling.soon(uid);
  }

  #ended(process: FleetProcess): void {
    this.#deps.leases.holderEnded(process.id);
    this.#hearing.dropHeld(process);
    this.#deps.logger.info('a process has ended', {
      kind: process.kind,
      pod: process.pod,
      node: process.node,
    });
  }

  /** What the nodes had before this replica led, until they report. */
  #recall(uid: string, sinceMs = this.#deps.clock.now()): void {
    const book = this.#distributions.get(uid)?.book;
    if (book === undefined) return;
    const take = (assignments: readonly Assignment[]) => {
      const known = this.#distributions.get(uid);
      if (known === undefined || known.book !== book) return;
      const unixMs = this.#deps.wallClock();
      const forgotten = book.recall(assignments, this.#deps.clock.now(), unixMs);
      // Of those that left while nobody led the grace begins now.
      const undated = assignments.filter(({ leftAtMs }) => leftAtMs === undefined);
      const leavers = undated.map(({ node }) => node).filter((node) => book.isLeaver(node));
      this.#rows.setLeft(uid, leavers, unixMs);
      this.#rows.deleteNodes(uid, forgotten);
      this.#departures.forgetGone([uid]);
      this.#lease(known);
      this.#listener(uid);
      this.#telling.soon(uid);
    };
    this.#rows.recall(uid).then(take, (error) => {
      this.#deps.logger.warn('assignments cannot be read', { uid, error });
      const { clock } = this.#deps;
      if (clock.now() - sinceMs >= RECALL_MS) return take([]);
      clock.setTimer(RECALL_AGAIN_MS, () => {
        // Removed meanwhile, or this replica does not lead any more.
        if (this.#distributions.get(uid)?.book === book) this.#recall(uid, sinceMs);
      });
    });
  }

  #sweep(): void {
    const now = this.#deps.clock.now();
    for (const process of this.fleet.list()) {
      const isSilent = process.stream === undefined && now - process.seenAtMs > SILENT_RELAY_MS;
      if (isSilent) this.#hearing.dropHeld(process);
    }
    this.fleet.sweep(now);
    if (!this.#isPrimed) return;
    // The grace of nodes that have left ends some time, and so do all waits.
    for (const [uid, { book, standIns }] of this.#distributions) {
      const isWaiting = book.isWaiting || standIns.isWaiting || this.#donations.isWaiting(uid);
      if (isWaiting) this.#telling.soon(uid);
    }
    this.#hearing.forgetReports();
    this.#removals.sweep();
  }

  #every(ms: number, act: () => void): void {
    const at = this.#timers.length;
    const again = () => {
      this.#timers[at] = this.#deps.clock.setTimer(ms, () => {
        act();
        again();
      });
    };
    again();
  }
}
