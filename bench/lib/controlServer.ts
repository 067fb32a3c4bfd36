/**
 * The operator's own control API, coordinator, leases and tracker, in this process: only Kubernetes
 * is missing. Plans come from the benchmark, the journal is in memory, and a process is whom its
 * token names.
 */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import path from 'node:path';
import { systemClock } from '@sluice/engine/adapters/systemClock.ts';
import { swarmIdOf } from '@sluice/engine/feed/swarmId.ts';
import { layoutOf } from '@sluice/engine/pieces/layout.ts';
import type { DistributionPlan, EpochRecord } from '@sluice/operator/controllers/dataSide.ts';
import { makeEpoch } from '@sluice/operator/controllers/distribution/epoch.ts';
import { newLogger } from '@sluice/operator/logger.ts';
import type { LeaseService } from '@sluice/operator/quota/leaseService.ts';
import { newApp, SERVER_OPTIONS } from '@sluice/operator/server/app.ts';
import { makeAuthority, makeServerCertificate } from '@sluice/operator/server/certificates.ts';
import { Coordinator } from '@sluice/operator/server/coordinator.ts';
import { ApiRefusal } from '@sluice/operator/server/refusal.ts';
import { systemLeases } from '@sluice/operator/testing/adapters/systemLeases.ts';
import { noRows } from '@sluice/operator/testing/noRows.ts';
import { aSpec } from '@sluice/operator/testing/objects.ts';
import { BRIDGE_ADDRESS, CONTROL_HOST } from './namespaces.ts';

export interface ControlServerOptions {
  readonly folder: string;
  readonly origin: {
    readonly host: string;
    readonly maxConnections: number;
    readonly maxBandwidthBytesPerSecond: number;
  };
}

/** What differs from a Distribution that says nothing of it, but never takes from the origin. */
export type Delivery = Partial<DistributionPlan['delivery']> &
  Partial<Pick<DistributionPlan, 'maxOriginShare'>>;

/** A process that may call; its token is its name. */
export interface KnownProcess {
  readonly name: string;
  readonly kind: 'relay' | 'agent';
  readonly node: string;
  readonly address: string;
}

const PORT = 8443;
const DOMAIN = 'bench';

export class ControlServer {
  readonly url = `https://${CONTROL_HOST}:${PORT}`;
  readonly caFile: string;
  readonly coordinator: Coordinator;
  readonly #options: ControlServerOptions;
  readonly #known = new Map<string, KnownProcess>();
  readonly #leases: LeaseService;
  #server: Server | undefined;

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.caFile = path.join(options.folder, 'ca.crt');
    const { maxConnections, maxBandwidthBytesPerSecond } = options.origin;
    this.#leases = systemLeases({
      defaultLimits: { maxConnections, maxBandwidthBytesPerSecond },
      requireOrigin: true,
    });
    this.coordinator = new Coordinator({
      leases: this.#leases,
      ...noRows,
      clock: systemClock,
      wallClock: Date.now,
      logger: newLogger('error'),
    });
  }

  async start(): Promise<void> {
    const { origin } = this.#options;
    const sessionKey = randomBytes(32);
    const app = newApp({
      coordinator: this.coordinator,
      leases: this.#leases,
      callers: { identify: async (token) => this.#identify(token) },
      client: { request: () => Promise.reject(new Error('there is no Kubernetes here')) },
      logger: newLogger('error'),
      sessionKey: () => sessionKey,
      isLeader: () => true,
      leaderUrl: () => undefined,
      nextLeaderUrl: () => undefined,
      leaderAnswers: () => true,
      renewalSeenMs: () => undefined,
      clock: systemClock,
      wallClock: () => Date.now(),
    });
    const authority = await makeAuthority(Date.now());
    const { key, certificate } = await makeServerCertificate([CONTROL_HOST], authority, Date.now());
    await writeFile(this.caFile, authority.certificate);
    const server = createServer({ key, cert: certificate, ...SERVER_OPTIONS }, app);
    await new Promise<void>((resolve) => server.listen(PORT, BRIDGE_ADDRESS, resolve));
    this.#server = server;
    this.#leases.lead(1);
    this.coordinator.start();
    const { host, ...limits } = origin;
    this.coordinator.setOrigins([
      {
        name: 'origin',
        hosts: [host],
        limits,
        closeAfterSeconds: 10,
        allowPrivateAddresses: true,
        allowAgentCredentials: false,
      },
    ]);
    this.coordinator.primed();
  }

  know(process: KnownProcess): void {
    this.#known.set(process.name, process);
  }

  /** What the kubelet reports of a container that has ended, and the operator hears. */
  containerEnded(name: string): void {
    const metadata = { name, namespace: 'team', uid: name, resourceVersion: '1' };
    const status = { containerStatuses: [{ state: { terminated: {} } }] };
    this.coordinator.fleet.podChanged({ metadata, status }, undefined, systemClock.now());
    const isKnown = [...this.coordinator.fleet.list()].some(({ podUid }) => podUid === name);
    // What follows would be measured without what the operator does in a cluster.
    if (isKnown) throw new Error(`the operator does not believe that ${name} has ended`);
  }

  /**
   * Resolves the source under a lease, as the operator does, and makes the epoch; with pieces of
   * another length than the operator would choose, where one is given.
   */
  async makeEpoch(
    uid: string,
    url: string,
    signal: AbortSignal,
    pieceLengthBytes?: number,
  ): Promise<EpochRecord> {
    const source = await this.coordinator.resolveSource({ url, headers: {}, uid }, signal);
    const metadata = { uid, namespace: 'team', name: uid };
    const record = makeEpoch(
      {
        apiVersion: 'sluice.dev/v1alpha1',
        kind: 'Distribution',
        metadata: {
          ...metadata,
          generation: 1,
          resourceVersion: '1',
          creationTimestamp: new Date().toISOString(),
        },
        spec: aSpec({ source: { url } }),
      },
      { uid, epoch: 1 },
      source,
      new Date().toISOString(),
    );
    if (pieceLengthBytes === undefined) return record;
    const layout = layoutOf(record.files, pieceLengthBytes);
    const feedKey = Buffer.from(record.feedPublicKey, 'base64');
    const swarmId = swarmIdOf(layout, { uid, epoch: record.epoch, feedKey }).toString('hex');
    return { ...record, pieceLengthBytes, pieceCount: layout.pieceCount, swarmId };
  }

  apply(
    record: EpochRecord,
    nodes: readonly string[],
    target: DistributionPlan['target'],
    delivery: Delivery = {},
  ): void {
    const { maxOriginShare = 0, ...rest } = delivery;
    this.coordinator.apply({
      record,
      headers: {},
      delivery: { topUp: ['Relay'], transport: 'Hybrid', ...rest },
      maxOriginShare,
      target,
      nodes: nodes.map((name) => ({ name, domain: DOMAIN })),
      priority: 0,
      suspend: false,
    });
  }

  async stop(): Promise<void> {
    this.coordinator.stop();
    this.#leases.stepDown();
    const server = this.#server;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  #identify(token: string) {
    const process = this.#known.get(token);
    if (process === undefined) throw new ApiRefusal(401, 'Unauthenticated', 'not of this run');
    const { name, node, address, kind } = process;
    const domain = kind === 'relay' ? DOMAIN : undefined;
    return { pod: name, podUid: name, node, address, domain };
  }
}
