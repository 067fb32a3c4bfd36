import { FileStore } from '@sluice/engine/adapters/file/fileStore.ts';
import type { RelayServer, ServedSwarm } from '@sluice/engine/adapters/http/relayServer.ts';
import { FeedSigner, signerUnder } from '@sluice/engine/feed/feedSigner.ts';
import { type FeedKeyPair, generateFeedKeyPair } from '@sluice/engine/feed/keys.ts';
import { checkSwarmId } from '@sluice/engine/feed/swarmId.ts';
import { type Layout, layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { HttpSource } from '@sluice/engine/ports/httpSource.ts';
import type { EngineHost } from '@sluice/engine/session/host.ts';
import { createPuller } from '@sluice/engine/session/originPuller.ts';
import type { Puller } from '@sluice/engine/session/puller.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';
import { uploadGate } from '@sluice/engine/session/uploadGate.ts';
import type { ControlClient } from '@sluice/protocol/client/controlClient.ts';
import { digestsOf } from '@sluice/protocol/client/digestsOf.ts';
import { DonorFolders } from '@sluice/protocol/client/donorFolders.ts';
import { HeldHashes } from '@sluice/protocol/client/heldHashes.ts';
import { LeaseLoop, type LeaseWant, type SourcedGrant } from '@sluice/protocol/client/leaseLoop.ts';
import { revokedPullersOf } from '@sluice/protocol/client/revokedPullersOf.ts';
import { mirrorsOf, sourceOf } from '@sluice/protocol/client/sourceOfTask.ts';
import { aborted, TaskLife } from '@sluice/protocol/client/taskLife.ts';
import { reportOf, type TaskError, taskErrorOf } from '@sluice/protocol/client/taskReport.ts';
import type { TaskRunner } from '@sluice/protocol/client/workLoop.ts';
import type { PullerCertificate } from '@sluice/protocol/leaseMessages.ts';
import type { Peer, Task, TransferReport } from '@sluice/protocol/messages.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import type { Logger } from 'winston';
import type { CacheRoom } from './cacheRoom.ts';
import { errorFields } from './logger.ts';
import { PublishedTorrent } from './publishedTorrent.ts';

export interface RelayTaskOptions {
  readonly task: Task;
  /** Of this epoch; created when missing. */
  readonly folder: string;
  /** Folders of epochs before it that are here still. */
  readonly earlier: () => Promise<readonly string[]>;
  /** Folders of versions of others that the task may use, and that are whole here. */
  readonly donors: (task: Task) => Promise<readonly string[]>;
}

export interface RelayTaskDependencies {
  readonly engine: EngineHost;
  readonly relayServer: RelayServer;
  readonly client: ControlClient;
  readonly room: Pick<CacheRoom, 'make' | 'release'>;
  /** Connections to an origin whose name may, or may not, mean a private address. */
  readonly httpSource: (allowsPrivate: boolean) => HttpSource;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  readonly logger: Logger;
  readonly onChange: () => void;
}

/** Who was wrong of one piece is so of others, and is gone with the first: a few will do. */
const DISPUTES_AT_ONCE = 2;
/** Between two looks whether others have what is here; the last pieces are hashed and signed by then. */
const LOOK_MS = 100;

const WANT: LeaseWant = {
  /** 10 Gbit/s: the control server grants what the origin's limits and the others leave of it. */
  rateBytesPerSecond: 1_250_000_000,
  /** Enough to hide an origin's latency; each one takes its part of the slack. */
  connections: 8,
};

/** One epoch at a relay: pulls extents under leases, takes the rest from peers, serves it all. */
export class RelayTask implements TaskRunner {
  readonly #folder: string;
  readonly #earlier: RelayTaskOptions['earlier'];
  readonly #wholeDonors: RelayTaskOptions['donors'];
  readonly #dependencies: RelayTaskDependencies;
  readonly #life: TaskLife;
  readonly #keyPair: FeedKeyPair = generateFeedKeyPair();
  #task: Task;
  #peers: readonly Peer[] = [];
  #transfer: Transfer | undefined;
  #leases: LeaseLoop | undefined;
  readonly #draining = new AbortController();
  #pulling: Promise<void> = Promise.resolve();
  #held: HeldHashes | undefined;
  readonly #donors: DonorFolders;
  #state: 'pending' | 'transferring' | 'ready' | 'failed' = 'pending';
  #failure: TaskError | undefined;
  /** Why the origin gives nothing; peers may. */
  #originError: TaskError | undefined;
  #firstByteAtMs: number | undefined;

  constructor(
    { task, folder, earlier, donors }: RelayTaskOptions,
    dependencies: RelayTaskDependencies,
  ) {
    this.#task = task;
    this.#folder = folder;
    this.#earlier = earlier;
    this.#wholeDonors = donors;
    this.#dependencies = dependencies;
    this.#life = new TaskLife({
      attempt: (signal) => this.#attempt(signal),
      onFailure: (error) => this.#fail(error),
      mayRetry: (error) => taskErrorOf(error).reason !== 'SwarmMismatch',
    });
    this.#donors = new DonorFolders({
      life: this.#life,
      whole: () => this.#wholeDonors(this.#task),
      isLacking: () => this.#state !== 'ready' && this.#state !== 'failed',
    });
  }

  start(): void {
    this.#life.start();
  }

  update(task: Task): void {
    this.#task = task;
    this.#transfer?.revoke(revokedPullersOf(task));
    this.#transfer?.setRates(uploadRatesOf(task));
    this.#held?.update(task);
    void this.#donors.look();
  }

  setPeers(peers: readonly Peer[]): void {
    this.#peers = peers;
    this.#transfer?.setPeers([...peers]);
  }

  askLease(): void {
    this.#leases?.askNow();
  }

  report(): TransferReport {
    const error = this.#failure ?? this.#originError;
    const transfer = this.#transfer;
    if (transfer === undefined) return reportOf(this.#task, { state: this.#state, error });
    const progress = transfer.progress();
    return reportOf(
      this.#task,
      {
        state: this.#state,
        error,
        bitfield: transfer.bitfield(),
        spread: transfer.spreadPieces(),
        revokedPullers: this.#task.revokedPullers?.length,
        disputes: transfer.disputes(DISPUTES_AT_ONCE),
        firstByteAtMs: this.#firstByteOf(progress.firstByteAt),
      },
      progress,
    );
  }

  /** Pulls nothing more, and serves until peers have what is here. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#draining.abort(new Error('the relay is about to stop'));
    await this.#pulling;
    do {
      await sleep(this.#dependencies.clock, LOOK_MS, signal).catch(() => {});
    } while (!signal.aborted && this.#transfer?.holdsAlone() === true);
  }

  async stop(): Promise<void> {
    await this.#life.stop();
  }

  /** Works until aborted; rejects when the transfer fails, or has no room here. */
  async #attempt(signal: AbortSignal): Promise<void> {
    const { room } = this.#dependencies;
    await room.make(this.#folder, this.#task.files);
    try {
      await this.#work(signal);
    } finally {
      room.release(this.#folder);
    }
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { engine, relayServer, clock, logger } = this.#dependencies;
    const task = this.#task;
    const layout = layoutOf(task.files, task.pieceLengthBytes);
    const feedKey = Buffer.from(task.feedKey, 'base64');
    checkSwarmId(task.swarmId, layout, { ...task, feedKey });
    const donors = await this.#donors.take();
    const store = new FileStore({
      folder: this.#folder,
      layout,
      digests: digestsOf(task),
      mustMatch: false,
      earlier: [...(await this.#earlier()), ...donors],
    });
    const transfer = engine.addTransfer({
      swarmId: task.swarmId,
      role: 'relay',
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
    const torrent = new PublishedTorrent(
      { name: task.name, layout },
      {
        transfer,
        stock: engine.stock,
        onProblem: (error) =>
          logger.warn('torrent problem', {
            uid: task.uid,
            epoch: task.epoch,
            ...errorFields(error),
          }),
      },
    );
    const held = this.#heldHashes(transfer);
    const over = new AbortController();
    const noPull = AbortSignal.any([signal, over.signal, this.#draining.signal]);
    try {
      await Promise.race([transfer.start(signal), transfer.failed]);
      signal.throwIfAborted();
      this.#held = held;
      this.#begin(transfer);
      torrent.start();
      const admit = uploadGate(transfer.bucket, clock);
      const served = servedOf(transfer, layout, torrent, admit);
      relayServer.addSwarm(task.swarmId, task.relayToken, served);
      this.#pulling = this.#pull(transfer, layout, noPull);
      transfer.completed.then(
        // Not of an attempt that is over: it says nothing of the one that goes on.
        () => {
          if (this.#transfer === transfer) this.#enter('ready');
        },
        () => {},
      );
      await Promise.race([transfer.failed, aborted(signal)]);
    } finally {
      over.abort();
      await this.#pulling;
      await held.stop();
      this.#held = undefined;
      relayServer.removeSwarm(task.swarmId);
      await torrent.stop();
      this.#transfer = undefined;
      await engine.removeTransfer(task.swarmId);
      logger.info('transfer ended', { uid: task.uid, epoch: task.epoch });
    }
  }

  #begin(transfer: Transfer): void {
    this.#transfer = transfer;
    this.#failure = undefined;
    transfer.revoke(revokedPullersOf(this.#task));
    transfer.setRates(uploadRatesOf(this.#task));
    this.#held?.update(this.#task);
    transfer.setPeers([...this.#peers]);
    this.#enter('transferring');
  }

  /** Signs what is here without a pull, when the task says so. */
  #heldHashes(transfer: Transfer): HeldHashes {
    const { client, clock, logger } = this.#dependencies;
    const { uid, epoch, swarmId } = this.#task;
    const owner = { swarmId: Buffer.from(swarmId, 'hex'), keyPair: this.#keyPair };
    return new HeldHashes(
      { uid, epoch, pullerKey: this.#keyPair.publicKey.toString('base64') },
      {
        client,
        clock,
        sign: (certificates) => transfer.setHeldSigner(signerUnder(owner, certificates)),
        onProblem: (error) => logger.warn('no certificate', { uid, epoch, ...errorFields(error) }),
      },
    );
  }

  /** Under leases until every piece is here; never rejects. */
  async #pull(transfer: Transfer, layout: Layout, signal: AbortSignal): Promise<void> {
    const { client, clock, logger } = this.#dependencies;
    const { uid, epoch, pieceLengthBytes } = this.#task;
    let signer: FeedSigner | undefined;
    const certified = (certificate: PullerCertificate) => {
      if (signer !== undefined) return signer.adopt(certificate);
      const swarmId = Buffer.from(this.#task.swarmId, 'hex');
      signer = new FeedSigner({ swarmId, keyPair: this.#keyPair, certificate });
      transfer.setSigner(signer);
    };
    this.#leases = new LeaseLoop(
      {
        uid,
        epoch,
        pieceLengthBytes,
        pullerKey: this.#keyPair.publicKey.toString('base64'),
      },
      {
        client,
        clock,
        wantedRateBytesPerSecond: () => WANT.rateBytesPerSecond,
        want: () => WANT,
        mirrors: () => mirrorsOf(this.#task),
        createPuller: (grant, requestedAtMs) =>
          this.#puller(transfer, layout, grant, requestedAtMs),
        certified,
        // What an earlier version had is here without a pull, and is nothing to others unsigned.
        complete: () =>
          transfer.progress().verifiedPieces === layout.pieceCount && !transfer.hasUnnamedPieces(),
        onFailure: (error, mirror) => {
          // What a mirror does wrong is said when its lease is settled, and ends no epoch.
          if (error !== undefined && mirror !== undefined) return;
          this.#originError = error;
          this.#dependencies.onChange();
        },
        onProblem: (error) => logger.warn('lease problem', { uid, epoch, ...errorFields(error) }),
      },
    );
    await this.#leases.run(signal);
    this.#leases = undefined;
  }

  #puller(transfer: Transfer, layout: Layout, grant: SourcedGrant, requestedAtMs: number): Puller {
    const { httpSource, clock } = this.#dependencies;
    const source = sourceOf(this.#task, layout.files, grant.mirror);
    if (source === undefined) throw new Error('the task names no such source');
    const options = { ...source.options, isFirst: transfer.progress().verifiedPieces === 0 };
    return createPuller(grant, requestedAtMs, options, {
      http: httpSource(source.allowsPrivateAddresses),
      clock,
      layout,
      target: transfer,
    });
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
    const { logger, onChange } = this.#dependencies;
    logger.info('transfer entered state', { uid: this.#task.uid, epoch: this.#task.epoch, state });
    onChange();
  }

  #fail(error: unknown): void {
    this.#state = 'failed';
    this.#failure = taskErrorOf(error);
    const { uid, epoch } = this.#task;
    this.#dependencies.logger.error('transfer failed', { uid, epoch, ...errorFields(error) });
    this.#dependencies.onChange();
  }
}

/** What the relay's HTTP serves of a transfer. */
function servedOf(
  transfer: Transfer,
  layout: Layout,
  torrent: PublishedTorrent,
  admit: ServedSwarm['admit'],
): ServedSwarm {
  return {
    pieceCount: layout.pieceCount,
    files: layout.files,
    pieceSizeBytes: (piece) => layout.pieceSizeBytes(piece),
    locate: (piece) => layout.locate(piece),
    holds: (piece) => transfer.serves(piece),
    assembles: (piece) => transfer.assembles(piece),
    arrival: (signal) => transfer.arrival(signal),
    read: (piece, offset, length) => transfer.read(piece, offset, length),
    follow: (piece, offset, signal) => transfer.follow(piece, offset, signal),
    feed: transfer.feed,
    torrent: () => torrent.ask(),
    uploadLimit: () => transfer.bucket.rateBytesPerSecond,
    admit,
    uploaded: (bytes) => transfer.uploaded(bytes),
  };
}

/** What nodes may download and must receive does not concern a relay. */
function uploadRatesOf({ delivery: { maxUploadRate } }: Task) {
  return { maxUploadRate };
}
