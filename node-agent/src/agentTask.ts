import type { EventEmitter } from 'node:events';
import { FileStore } from '@sluice/engine/adapters/file/fileStore.ts';
import { removeOlderVersions } from '@sluice/engine/adapters/file/olderVersions.ts';
import { checkSwarmId } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { HttpSource } from '@sluice/engine/ports/httpSource.ts';
import type { EngineHost } from '@sluice/engine/session/host.ts';
import type { TopUpRelay } from '@sluice/engine/session/relayUrl.ts';
import { TopUp } from '@sluice/engine/session/topUp.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';
import type { HelpSource } from '@sluice/engine/topup/ladder.ts';
import type { ControlClient } from '@sluice/protocol/client/controlClient.ts';
import { digestsOf } from '@sluice/protocol/client/digestsOf.ts';
import { DonorFolders } from '@sluice/protocol/client/donorFolders.ts';
import type { HeldHashes } from '@sluice/protocol/client/heldHashes.ts';
import { revokedPullersOf } from '@sluice/protocol/client/revokedPullersOf.ts';
import { aborted, TaskLife } from '@sluice/protocol/client/taskLife.ts';
import { reportOf, type TaskError, taskErrorOf } from '@sluice/protocol/client/taskReport.ts';
import type { TaskRunner } from '@sluice/protocol/client/workLoop.ts';
import type { Peer, Task, TransferReport } from '@sluice/protocol/messages.ts';
import type { Logger } from 'winston';
import { noteLink } from './deletion.ts';
import type { DiskUse } from './diskUse.ts';
import { earlierVersions, wholeDonors } from './earlierVersions.ts';
import { heldHashesOf } from './heldHashes.ts';
import { errorFields } from './logger.ts';
import { makeRoom, type RoomOptions } from './makeRoom.ts';
import { OriginPull } from './originPull.ts';
import { OriginTopUp } from './originTopUp.ts';
import type { Orphans } from './orphans.ts';
import { type CheckSettings, type Damage, placedDamage } from './placedCheck.ts';
import { realPathsOf, type VersionPaths } from './versionPaths.ts';

export interface AgentTaskOptions extends RoomOptions {
  readonly task: Task;
  readonly root: string;
  readonly check: CheckSettings;
}

export interface AgentTaskDependencies {
  readonly engine: EngineHost;
  readonly client: Pick<ControlClient, 'lease'>;
  /** Connections to relays. */
  readonly http: HttpSource;
  /** Connections to an origin whose name may, or may not, mean a private address. */
  readonly httpSource: (allowsPrivate: boolean) => HttpSource;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  readonly logger: Logger;
  /** Of this node, by all tasks. */
  readonly diskUse: DiskUse;
  readonly orphans: Pick<Orphans, 'list'>;
  /** `placed`: a version on this node is whole that others may use. */
  readonly news: EventEmitter<{ placed: [] }>;
  readonly onChange: () => void;
}

/** Who was wrong of one piece is so of others, and is gone with the first: a few will do. */
const DISPUTES_AT_ONCE = 2;

/** Nothing on this node changes what these say; another epoch does. */
const FINAL_REASONS: ReadonlySet<string> = new Set([
  'DigestMismatch',
  'UnsafePath',
  'SwarmMismatch',
]);

/** One epoch at a node: fetched, verified, made visible, and then given to others. */
export class AgentTask implements TaskRunner {
  readonly #options: Omit<AgentTaskOptions, 'task'>;
  readonly #dependencies: AgentTaskDependencies;
  readonly #life: TaskLife;
  #task: Task;
  #peers: readonly Peer[] = [];
  #transfer: Transfer | undefined;
  #version: Version | undefined;
  #topUp: TopUp | undefined;
  /** What takes from the origin now. */
  #origin: OriginTopUp | OriginPull | undefined;
  #held: HeldHashes | undefined;
  #change = new AbortController();
  readonly #donors: DonorFolders;
  readonly #onPlaced = () => void this.#donors.look();
  #state: 'pending' | 'transferring' | 'ready' | 'failed' = 'pending';
  #pieceCount = 0;
  #failure: TaskError | undefined;
  #firstByteAtMs: number | undefined;

  constructor({ task, ...options }: AgentTaskOptions, dependencies: AgentTaskDependencies) {
    this.#task = task;
    this.#options = options;
    this.#dependencies = dependencies;
    this.#life = new TaskLife({
      attempt: (signal) => this.#keep(signal),
      onFailure: (error) => this.#fail(error),
      mayRetry: (error) => !FINAL_REASONS.has(taskErrorOf(error).reason),
    });
    this.#donors = new DonorFolders({
      life: this.#life,
      whole: () => wholeDonors(options.root, this.#task),
      isLacking: () => this.#state !== 'ready' && this.#state !== 'failed',
    });
  }

  start(): void {
    this.#dependencies.news.on('placed', this.#onPlaced);
    this.#life.start();
  }

  update(task: Task): void {
    const changes = task.pulls !== this.#task.pulls;
    this.#task = task;
    if (changes) this.#change.abort();
    this.#transfer?.revoke(revokedPullersOf(task));
    this.#held?.update(task);
    this.#applyDelivery();
    this.#applyTarget();
    void this.#donors.look();
  }

  setPeers(peers: readonly Peer[]): void {
    this.#peers = peers;
    this.#applyPeers();
  }

  askLease(): void {
    this.#origin?.askLease();
  }

  report(): TransferReport {
    const transfer = this.#transfer;
    const error = this.#failure;
    if (transfer === undefined) return reportOf(this.#task, { state: this.#state, error });
    const progress = transfer.progress();
    const verifying =
      this.#state === 'transferring' && progress.verifiedPieces === this.#pieceCount;
    const state = verifying ? 'verifying' : this.#state;
    const firstByteAtMs = this.#firstByteOf(progress.firstByteAt);
    const { pulls, signs } = this.#task;
    const pulled = (pulls === true || signs === true) && {
      bitfield: transfer.bitfield(),
      spread: transfer.spreadPieces(),
      revokedPullers: this.#task.revokedPullers?.length,
      disputes: transfer.disputes(DISPUTES_AT_ONCE),
    };
    return reportOf(this.#task, { state, error, firstByteAtMs, ...pulled }, progress);
  }

  async stop(): Promise<void> {
    this.#dependencies.news.off('placed', this.#onPlaced);
    await this.#life.stop();
  }

  /** A version that is not as it was placed any more is looked through, and what is wrong fetched. */
  async #keep(signal: AbortSignal): Promise<void> {
    const { uid, epoch } = this.#task;
    let isSuspicious = false;
    while (!signal.aborted) {
      const damage = await this.#attempt(isSuspicious, signal);
      if (damage === undefined) return;
      isSuspicious = damage.kind === 'rotten';
      this.#dependencies.logger.warn('a placed version is damaged', { uid, epoch, ...damage });
    }
  }

  /** Works until aborted, or what is placed is damaged; rejects when the transfer fails. */
  async #attempt(isSuspicious: boolean, signal: AbortSignal): Promise<Damage | undefined> {
    const paths = await realPathsOf(this.#options.root, this.#task);
    await makeRoom(paths, this.#task, this.#options, this.#dependencies);
    try {
      return await this.#bring(paths, isSuspicious, signal);
    } finally {
      this.#dependencies.diskUse.release(paths);
    }
  }

  async #bring(
    paths: VersionPaths,
    isSuspicious: boolean,
    signal: AbortSignal,
  ): Promise<Damage | undefined> {
    const task = this.#task;
    await noteLink(paths);
    const layout = layoutOf(task.files, task.pieceLengthBytes);
    this.#pieceCount = layout.pieceCount;
    const { engine, http, clock, logger } = this.#dependencies;
    const feedKey = Buffer.from(task.feedKey, 'base64');
    checkSwarmId(task.swarmId, layout, { ...task, feedKey });
    const donors = await this.#donors.take();
    const store = new FileStore({
      folder: paths.versionFolder,
      layout,
      digests: digestsOf(task),
      earlier: [...(await earlierVersions(paths)), ...donors],
      link: paths.link,
      fileMode: fileModeOf(task),
    });
    const over = new AbortController();
    const whileOpen = AbortSignal.any([signal, over.signal]);
    this.#version = { store, folder: paths.versionFolder, signal: whileOpen };
    const transfer = engine.addTransfer({
      swarmId: task.swarmId,
      role: 'agent',
      layout,
      store,
      feedKey,
      swarmSecret: Buffer.from(task.swarmSecret, 'base64'),
      onBanned: (peer, piece) => {
        const { uid, epoch } = task;
        logger.warn('a peer sent wrong bytes and is banned', { uid, epoch, peer, piece });
      },
    });
    transfer.revoke(revokedPullersOf(this.#task));
    const { swarmId, relayToken } = task;
    const options = { task: () => this.#task, layout };
    const originTopUp = new OriginTopUp(options, { ...this.#dependencies, transfer });
    const originPull = new OriginPull(options, { ...this.#dependencies, transfer });
    const topUp = new TopUp(
      { swarmId, relayToken },
      { http, clock, target: transfer, origin: originTopUp },
    );
    const held = heldHashesOf(task, { ...this.#dependencies, transfer });
    let helped = Promise.resolve();
    try {
      await Promise.race([transfer.start(signal), transfer.failed]);
      signal.throwIfAborted();
      this.#held = held;
      this.#begin(transfer, topUp);
      topUp.start();
      helped = this.#useOrigin(originTopUp, originPull, whileOpen);
      await Promise.race([transfer.completed, transfer.failed, aborted(signal)]);
      if (!signal.aborted) this.#enter('ready');
      this.#applyTarget();
      await topUp.stop();
      const check = { ...this.#options.check, layout, paths, isSuspicious };
      const damaged = placedDamage(check, { ...this.#dependencies, store }, whileOpen);
      return await Promise.race([transfer.failed, damaged]);
    } finally {
      over.abort();
      await topUp.stop();
      await helped;
      await held.stop();
      this.#held = undefined;
      this.#transfer = undefined;
      this.#version = undefined;
      this.#topUp = undefined;
      this.#origin = undefined;
      await engine.removeTransfer(task.swarmId);
      logger.info('transfer ended', { uid: task.uid, epoch: task.epoch });
    }
  }

  /** One at a time: to the control server they are one holder of one lease. */
  async #useOrigin(topUp: OriginTopUp, pull: OriginPull, signal: AbortSignal): Promise<void> {
    let change: AbortController;
    do {
      change = new AbortController();
      this.#change = change;
      this.#origin = this.#task.pulls === true ? pull : topUp;
      await this.#origin.run(AbortSignal.any([signal, change.signal]));
    } while (change.signal.aborted && !signal.aborted);
  }

  #begin(transfer: Transfer, topUp: TopUp): void {
    this.#transfer = transfer;
    this.#topUp = topUp;
    this.#failure = undefined;
    transfer.revoke(revokedPullersOf(this.#task));
    this.#held?.update(this.#task);
    this.#applyDelivery();
    this.setPeers(this.#peers);
    this.#enter('transferring');
  }

  #applyDelivery(): void {
    const { minRate, maxRate, maxUploadRate, topUp, transport } = this.#task.delivery;
    this.#transfer?.setRates({ minRate, maxRate, maxUploadRate });
    const sources = topUp.flatMap((source): HelpSource[] => {
      if (source === 'Relay') return ['relay'];
      return this.#task.source === undefined || this.#task.pulls === true ? [] : ['origin'];
    });
    this.#topUp?.setPolicy({ minRate, sources, isCarried: transport === 'HTTP' });
    this.#applyPeers();
  }

  /** What the target says of files that are in their place. */
  #applyTarget(): void {
    const version = this.#version;
    if (version === undefined) return;
    const { uid, epoch } = this.#task;
    applyTarget(version, this.#task, this.#state === 'ready').catch((error) => {
      if (version.signal.aborted) return;
      const fields = { uid, epoch, ...errorFields(error) };
      this.#dependencies.logger.warn('the target is not as it should be', fields);
    });
  }

  #applyPeers(): void {
    const isHttp = this.#task.delivery.transport === 'HTTP';
    this.#transfer?.setPeers(isHttp ? [] : [...this.#peers]);
    this.#topUp?.setRelays(relaysOf(this.#peers));
  }

  #firstByteOf(atMs: number | undefined): number | undefined {
    if (atMs === undefined) return undefined;
    // Once: two clocks never differ by quite the same.
    const { wallClock, clock } = this.#dependencies;
    this.#firstByteAtMs ??= wallClock() - (clock.now() - atMs);
    return this.#firstByteAtMs;
  }

  #enter(state: 'transferring' | 'ready'): void {
    this.#state = state;
    const { uid, epoch } = this.#task;
    this.#dependencies.logger.info('transfer entered state', { uid, epoch, state });
    this.#dependencies.onChange();
    if (state === 'ready') this.#dependencies.news.emit('placed');
  }

  #fail(error: unknown): void {
    this.#state = 'failed';
    this.#failure = taskErrorOf(error);
    const { uid, epoch } = this.#task;
    this.#dependencies.logger.error('transfer failed', { uid, epoch, ...errorFields(error) });
    this.#dependencies.onChange();
  }
}

/** A version that is being made, or is made. */
interface Version {
  readonly store: FileStore;
  readonly folder: string;
  /** Ends with the attempt: the next one has a store of its own. */
  readonly signal: AbortSignal;
}

async function applyTarget(
  { store, folder, signal }: Version,
  task: Task,
  isReady: boolean,
): Promise<void> {
  await store.setFileMode(fileModeOf(task), signal);
  if (isReady) await removeOlderVersions(folder, task.target?.keepVersions ?? 1);
}

function fileModeOf({ target }: Task): number {
  return Number.parseInt(target?.fileMode ?? '0644', 8);
}

function relaysOf(peers: readonly Peer[]): TopUpRelay[] {
  return peers.flatMap(({ id, role, host, httpPort }) =>
    role === 'relay' && httpPort !== undefined ? [{ id, host, httpPort }] : [],
  );
}
