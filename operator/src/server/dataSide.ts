/** Wires the data side: database, keys, leases, coordinator and the control API. */
import { createServer, type Server } from 'node:https';
import { systemRandom } from '@sluice/engine/adapters/system/systemRandom.ts';
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import { sleep, unlessAborted } from '@sluice/protocol/sleep.ts';
import type { MongoClient } from 'mongodb';
import { Gauge } from 'prom-client';
import type { Logger } from 'winston';
import type { Origin } from '../api/v1alpha1/origin.ts';
import type { Config } from '../config.ts';
import type {
  DatabaseState,
  DataSide,
  EpochRecord,
  EpochStore,
  Troubles,
} from '../controllers/dataSide.ts';
import { listPath, resources } from '../kube/paths.ts';
import { Reflector } from '../kube/reflector.ts';
import { trimPod } from '../kube/trim.ts';
import type { DataSideEnvironment } from '../operator.ts';
import { marksOf } from '../policies/originJournals.ts';
import { MongoJournalStore } from '../quota/journalStore.ts';
import { newLeaseMetrics } from '../quota/leaseMetrics.ts';
import { LeaseService } from '../quota/leaseService.ts';
import type { JournalMark } from '../quota/marks.ts';
import { MongoAssignmentStore } from '../store/assignments.ts';
import { databaseOf, newMongoClient } from '../store/database.ts';
import { orDatabaseError } from '../store/databaseError.ts';
import { DatabaseWatch } from '../store/databaseWatch.ts';
import { MongoEpochStore, SupersededError } from '../store/epochs.ts';
import { inTime } from '../store/inTime.ts';
import { NewerSchemaError } from '../store/schema.ts';
import { SchemaMark } from '../store/schemaMark.ts';
import { newApp, SERVER_OPTIONS } from './app.ts';
import { Callers, type PodObject } from './callers.ts';
import { makeServerCertificate, type ServerCertificate } from './certificates.ts';
import { Coordinator } from './coordinator.ts';
import { HANDSHAKE_TIMEOUT_MS, Handshakes } from './handshakes.ts';
import { ImageTroubles } from './imageTroubles.ts';
import { Keyring, type Keys } from './keyring.ts';
import { LeaderReach } from './leaderReach.ts';
import { isRelayAway } from './relaysAway.ts';
import { ticketKeysFrom } from './sessions.ts';

export interface DataSideDependencies extends DataSideEnvironment {
  readonly clock: Clock;
  readonly logger: Logger;
}

const DATABASE_RETRY_MS = 1_000;
/** Until somebody goes back to the newer release, or gives another database. */
const NEWER_RETRY_MS = 10_000;
const PING_TIMEOUT_MS = 4_000;
/** A leader that is replaced waits no longer for its last rows. */
const FLUSH_MS = 2_000;
const KEYS_EVERY_MS = 600_000;
const KEYS_RETRY_MS = 1_000;
const SERVICE = 'sluice-control';
/** A certificate is made anew when a third of its life is left. */
const RENEW_BEFORE_MS = 30 * 24 * 3600 * 1000;
/** Of connections that wait to be accepted: after a change of leaders all processes come at once. */
const BACKLOG = 4_096;
const FLEET_SELECTOR = 'app.kubernetes.io/name=sluice,app.kubernetes.io/component in (relay,agent)';

export function newDataSide(config: Config, dependencies: DataSideDependencies): DataSide {
  return new MongoDataSide(config, dependencies);
}

class MongoDataSide implements DataSide {
  readonly coordinator: Coordinator;
  readonly epochs: EpochStore;
  readonly troubles: Troubles;
  readonly #config: Config;
  readonly #deps: DataSideDependencies;
  readonly #mongo: MongoClient;
  readonly #journal: MongoJournalStore;
  readonly #assignments: MongoAssignmentStore;
  readonly #epochRows: MongoEpochStore;
  readonly #schemaMark: SchemaMark;
  readonly #leases: LeaseService;
  readonly #keyring: Keyring;
  readonly #pods: Reflector<PodObject>;
  readonly #images = new ImageTroubles();
  readonly #databaseWatch: DatabaseWatch;
  readonly #stop = new AbortController();
  /** Found so before it has started. */
  #isNewer = false;
  #keys: Keys | undefined;
  #certificate: ServerCertificate | undefined;
  #server: Server | undefined;
  #handshakes: Handshakes | undefined;
  /** While it leads. */
  #term: number | undefined;
  /** It leads, and has forgotten all that it knew before. */
  #hasBegun = false;
  #keysTimer: Timer | undefined;

  constructor(config: Config, dependencies: DataSideDependencies) {
    this.#config = config;
    this.#deps = dependencies;
    const { client, clock, logger, random } = dependencies;
    this.#mongo = newMongoClient(config.mongoUri);
    const database = databaseOf(this.#mongo);
    this.#journal = new MongoJournalStore(database);
    this.#assignments = new MongoAssignmentStore(database);
    this.#epochRows = new MongoEpochStore(database);
    this.#schemaMark = new SchemaMark(database);
    const observe = newLeaseMetrics(dependencies.registry, {
      origins: () => this.#leases.originNames(),
      usage: (name) => this.#leases.usage(name),
      waiting: () => this.#leases.waiting(),
    });
    this.#leases = new LeaseService(config, {
      observe,
      store: this.#journal,
      clock,
      random: systemRandom,
      wallClock: () => Date.now(),
      onLost: dependencies.onLost,
      onBroken: (error) =>
        logger.error('an origin is granted nothing: its journal cannot be read', { error }),
      onRetry: (error) => logger.warn('the journal is not written and is tried again', { error }),
      isRelayAway: () => isRelayAway(this.#pods.list(), this.coordinator.fleet.relays()),
    });
    this.coordinator = new Coordinator({
      leases: this.#leases,
      assignments: this.#assignments,
      revocations: this.#epochRows,
      clock,
      wallClock: () => Date.now(),
      logger,
    });
    this.epochs = this.#epochStore(this.#epochRows);
    this.#databaseWatch = new DatabaseWatch({
      clock,
      ping: async () => {
        await inTime(PING_TIMEOUT_MS, database.command({ ping: 1 }));
      },
    });
    this.troubles = {
      isDatabaseAway: () => this.#databaseWatch.isAway,
      relayImage: (domain) => this.#images.relay(domain),
      agentImage: (node) => this.#images.agent(node),
    };
    this.#keyring = new Keyring(config, { client });
    this.#pods = new Reflector<PodObject>(
      { path: listPath(resources.pods, config.namespace), labelSelector: FLEET_SELECTOR },
      {
        client,
        clock,
        random,
        trim: trimPod,
        onChange: (pod, previous) => {
          this.coordinator.fleet.podChanged(pod, previous, clock.now());
          this.#images.podChanged(pod, previous);
        },
        onError: (error, retryAfterMs) => {
          logger.warn('pods cannot be watched and are tried again', { error, retryAfterMs });
        },
      },
    );
    this.#measure();
  }

  async start(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#stop.abort(signal.reason), { once: true });
    await this.#untilDatabase(signal);
    this.#databaseWatch.start();
    this.#keys = await this.#untilKeys(signal);
    await this.#serve();
    this.#pods.start();
    await unlessAborted(this.#pods.synced(), signal);
    this.#watchKeys();
  }

  databaseState(): DatabaseState {
    if (this.#isNewer) return { kind: 'newer' };
    const { awaySinceMs } = this.#databaseWatch;
    return awaySinceMs === undefined ? { kind: 'answers' } : { kind: 'away', sinceMs: awaySinceMs };
  }

  /**
   * Tried until the database answers. Rejects when a newer release has written to it since: then
   * nothing was changed.
   */
  async lead(term: number, signal: AbortSignal): Promise<void> {
    this.#term = term;
    while (this.#term === term && !(await this.#takesOver(signal))) {
      await sleep(this.#deps.clock, DATABASE_RETRY_MS, signal);
    }
    // It has stepped down meanwhile, and would fence the journals under the next leader.
    if (this.#term !== term) return;
    this.coordinator.start();
    this.#leases.lead(term, (until) => this.#loadMarks(until));
    this.#hasBegun = true;
  }

  async #takesOver(signal: AbortSignal): Promise<boolean> {
    try {
      await this.#schemaMark.claim();
      await this.#epochRows.migrate();
      await this.#assignments.migrate();
      await this.#renewKeys(signal);
      return true;
    } catch (error) {
      if (signal.aborted || error instanceof NewerSchemaError) throw error;
      this.#deps.logger.warn('this replica does not lead yet and tries again', { error });
      return false;
    }
  }

  /** What takes longer agents know still: the Lease does not wait for it. */
  async flush(): Promise<void> {
    const late = new AbortController();
    const timer = this.#deps.clock.setTimer(FLUSH_MS, () => late.abort());
    try {
      await unlessAborted(this.coordinator.flush(), late.signal);
    } catch (error) {
      if (!late.signal.aborted) throw error;
      this.#deps.logger.warn('not all that is known of nodes is written', { afterMs: FLUSH_MS });
    } finally {
      timer.cancel();
    }
  }

  stepDown(): void {
    this.#term = undefined;
    this.#hasBegun = false;
    this.#leases.stepDown();
    this.coordinator.stop();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopped'));
    this.#keysTimer?.cancel();
    this.#databaseWatch.stop();
    this.stepDown();
    await this.#pods.stop();
    const server = this.#server;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      if (server === undefined) resolve();
      else server.close(() => resolve());
      this.#handshakes?.destroyAll();
    });
    await this.#mongo.close();
  }

  ready(): boolean {
    return this.#server?.listening === true;
  }

  /** From the API server itself: a copy that is watched may be older than what a leader before wrote. */
  async #loadMarks(signal: AbortSignal): Promise<ReadonlyMap<string, JournalMark>> {
    const path = listPath(resources.origins);
    const { items } = await this.#deps.client.request<{ items: readonly Origin[] }>({
      method: 'GET',
      path,
      signal,
    });
    return marksOf(items.map(({ status }) => status));
  }

  /** The rows of the nodes go with the distribution's. */
  #epochStore(epochs: EpochStore): EpochStore {
    return {
      load: (owner) => orDatabaseError(epochs.load(owner)),
      save: (record: EpochRecord) => orDatabaseError(this.#saveEpoch(record)),
      saveMirrors: (uid, epoch, mirrors) =>
        orDatabaseError(epochs.saveMirrors(uid, epoch, mirrors)),
      saveCompleted: (uid, epoch, completedAt) =>
        orDatabaseError(epochs.saveCompleted(uid, epoch, completedAt)),
      bury: (uid, plot) => orDatabaseError(epochs.bury(uid, plot)),
      graves: () => orDatabaseError(epochs.graves()),
      adopt: (uid, heir) => orDatabaseError(epochs.adopt(uid, heir)),
      condemn: (uid, dueAtMs) => orDatabaseError(epochs.condemn(uid, dueAtMs)),
      delete: async (uid) => {
        await this.coordinator.deleteRows(uid);
        await epochs.delete(uid);
        this.coordinator.forget(uid);
      },
      living: () => epochs.living(),
    };
  }

  async #saveEpoch(record: EpochRecord): Promise<void> {
    try {
      await this.#epochRows.save(record);
    } catch (error) {
      if (error instanceof SupersededError) this.#deps.onLost(error);
      throw error;
    }
  }

  async #untilDatabase(signal: AbortSignal): Promise<void> {
    const { clock, isLeader, logger } = this.#deps;
    for (;;) {
      signal.throwIfAborted();
      try {
        await this.#mongo.connect();
        await this.#schemaMark.check();
        await this.#journal.prepare();
        await this.#assignments.prepare();
        this.#isNewer = false;
        return;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        const isNewer = error instanceof NewerSchemaError;
        this.#isNewer = isNewer;
        if (isNewer) logger.error('the database is left alone', { code: error.code, message });
        else logger.warn('the database does not answer and is tried again', { message });
        // It took a Lease that nobody wanted while the database was away: the newer one is to have it.
        if (isNewer && isLeader()) throw error;
        await sleep(clock, isNewer ? NEWER_RETRY_MS : DATABASE_RETRY_MS, signal);
      }
    }
  }

  async #untilKeys(signal: AbortSignal): Promise<Keys> {
    const { clock, logger } = this.#deps;
    for (;;) {
      signal.throwIfAborted();
      try {
        const keys = await this.#keyring.load(false, Date.now(), signal);
        if (keys !== undefined) return keys;
      } catch (error) {
        logger.warn('the CA cannot be read and is tried again', { error });
      }
      await sleep(clock, KEYS_RETRY_MS, signal);
    }
  }

  async #serve(): Promise<void> {
    const { client, isLeader, leaderIp, nextLeaderIp, logger, clock } = this.#deps;
    const certificate = await this.#newCertificate();
    const reach = new LeaderReach(clock);
    const app = newApp({
      coordinator: this.coordinator,
      leases: this.#leases,
      callers: new Callers(this.#config, { client, clock, pods: this.#pods }),
      client,
      logger,
      sessionKey: () => (this.#keys as Keys).sessionKey,
      isLeader: () => isLeader() && this.#hasBegun,
      leaderUrl: () => {
        // Soon this one: whoever asks waits for it.
        const ip = isLeader() && !this.#hasBegun ? undefined : leaderIp();
        return this.#urlOf(ip);
      },
      nextLeaderUrl: () => this.#urlOf(nextLeaderIp()),
      leaderAnswers: (url) => reach.answers(url),
      renewalSeenMs: this.#deps.renewalSeenMs,
      clock,
      wallClock: () => Date.now(),
    });
    const handshakeTimeout = HANDSHAKE_TIMEOUT_MS;
    const options = { ...this.#secureContext(certificate), ...SERVER_OPTIONS, handshakeTimeout };
    const server = createServer(options, app);
    this.#handshakes = new Handshakes(server, { clock, isLeader });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: this.#config.controlPort, backlog: BACKLOG }, () => resolve());
    });
    this.#server = server;
  }

  /** Of a replica's pod. */
  #urlOf(ip: string | undefined): string | undefined {
    return ip === undefined ? undefined : `https://${bracketed(ip)}:${this.#config.controlPort}`;
  }

  async #newCertificate(): Promise<ServerCertificate> {
    const { namespace } = this.#config;
    const name = `${SERVICE}.${namespace}.svc`;
    const names = [name, `${name}.cluster.local`, `${SERVICE}.${namespace}`, SERVICE];
    const { current } = (this.#keys as Keys).authorities;
    this.#certificate = await makeServerCertificate(names, current, Date.now());
    return this.#certificate;
  }

  #secureContext({ key, certificate }: ServerCertificate) {
    const ticketKeys = ticketKeysFrom((this.#keys as Keys).sessionKey);
    // Of TLS 1.2 these keys alone would tell what was recorded before.
    return { key, cert: certificate, ticketKeys, minVersion: 'TLSv1.3' as const };
  }

  #watchKeys(): void {
    this.#keysTimer = this.#deps.clock.setTimer(KEYS_EVERY_MS, () => {
      this.#renewKeys(this.#stop.signal)
        .catch((error) => this.#deps.logger.warn('the CA cannot be renewed', { error }))
        .finally(() => {
          if (!this.#stop.signal.aborted) this.#watchKeys();
        });
    });
  }

  /** The leader rotates; every replica follows what is in the Secret. */
  async #renewKeys(signal: AbortSignal): Promise<void> {
    const keys = await this.#keyring.load(this.#deps.isLeader(), Date.now(), signal);
    if (keys === undefined) return;
    const before = this.#keys?.authorities.current.certificate;
    this.#keys = keys;
    const isOld = (this.#certificate?.notAfterMs ?? 0) - Date.now() < RENEW_BEFORE_MS;
    if (before === keys.authorities.current.certificate && !isOld) return;
    const renewed = await this.#newCertificate();
    this.#server?.setSecureContext(this.#secureContext(renewed));
  }

  #measure(): void {
    const { coordinator } = this;
    new Gauge({
      name: 'sluice_processes_connected',
      help: 'Relays and agents with an open work stream, by kind.',
      labelNames: ['kind'],
      registers: [this.#deps.registry],
      collect() {
        const counts = { relay: 0, agent: 0 };
        for (const { kind } of coordinator.fleet.connected()) counts[kind] += 1;
        for (const [kind, count] of Object.entries(counts)) this.set({ kind }, count);
      },
    });
    new Gauge({
      name: 'sluice_processes_by_protocol_version',
      help: 'The same, by kind and version of the control protocol: two during an upgrade.',
      labelNames: ['kind', 'version'],
      registers: [this.#deps.registry],
      collect() {
        this.reset();
        for (const { kind, protocolVersion: version } of coordinator.fleet.connected()) {
          this.inc({ kind, version });
        }
      },
    });
  }
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
