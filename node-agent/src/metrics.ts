import type { TransferReport } from '@sluice/protocol/messages.ts';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Orphan } from './orphans.ts';

export interface AgentMetricsOptions {
  /** How things stand now. */
  readonly reports: () => readonly TransferReport[];
  readonly controlConnected: () => boolean;
  /** Of the control protocol; undefined: not agreed yet. */
  readonly protocolVersion: () => number | undefined;
  /** Connections to peers that ended, by reason. */
  readonly closedConnections: () => ReadonlyMap<string, number>;
  /** Batches of the feed that only a newer release can read. */
  readonly newerBatches: () => number;
  /** Peers that sent wrong bytes. */
  readonly bannedPeers: () => number;
  /** Undefined: not known yet. */
  readonly orphans: () => Promise<readonly Orphan[] | undefined>;
}

/** What an agent tells Prometheus. Labels are bounded: never a distribution or a peer. */
export class AgentMetrics {
  readonly #registry = new Registry();
  readonly #problems: Counter;

  constructor(options: AgentMetricsOptions) {
    const { reports, controlConnected, protocolVersion } = options;
    const { closedConnections, newerBatches, bannedPeers } = options;
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry, prefix: 'sluice_agent_' });
    addOrphans(this.#registry, options.orphans);
    this.#problems = new Counter({
      name: 'sluice_agent_control_problems_total',
      help: 'Failed exchanges with the control server',
      registers,
    });
    new Counter({
      name: 'sluice_agent_peer_connections_closed_total',
      help: 'Connections to peers that ended, by reason',
      labelNames: ['reason'],
      registers,
      collect() {
        this.reset();
        for (const [reason, count] of closedConnections()) this.inc({ reason }, count);
      },
    });
    new Counter({
      name: 'sluice_agent_peers_banned_total',
      help: 'Peers that sent wrong bytes and are asked for nothing more; the log names them',
      registers,
      collect() {
        this.reset();
        this.inc(bannedPeers());
      },
    });
    new Counter({
      name: 'sluice_agent_newer_feed_batches_total',
      help: 'Signed hashes from peers in the format of a newer release, passed over: upgrade this one',
      registers,
      collect() {
        this.reset();
        this.inc(newerBatches());
      },
    });
    new Gauge({
      name: 'sluice_agent_control_connected',
      help: '1 while a work stream is open',
      registers,
      collect() {
        this.set(controlConnected() ? 1 : 0);
      },
    });
    new Gauge({
      name: 'sluice_agent_control_protocol_version',
      help: 'Version of the control protocol that was agreed on; 0: none yet',
      registers,
      collect() {
        this.set(protocolVersion() ?? 0);
      },
    });
    new Gauge({
      name: 'sluice_agent_transfers',
      help: 'Distributions that this agent works on, by state',
      labelNames: ['state'],
      registers,
      collect() {
        this.reset();
        for (const { state } of reports()) this.inc({ state });
      },
    });
    // Gauges, since what was removed no longer counts in them.
    new Gauge({
      name: 'sluice_agent_received_bytes',
      help: 'Payload received for the present distributions, by where it came from',
      labelNames: ['source'],
      registers,
      collect() {
        this.reset();
        for (const { received } of reports()) {
          this.inc({ source: 'peers' }, received.fromPeers);
          this.inc({ source: 'relays' }, received.fromRelays);
          this.inc({ source: 'relay_http' }, received.fromRelayHttp);
          this.inc({ source: 'origin' }, received.fromOrigin);
        }
      },
    });
    new Gauge({
      name: 'sluice_agent_uploaded_bytes',
      help: 'Payload sent for the present distributions',
      registers,
      collect() {
        this.set(reports().reduce((sum, { uploadedBytes }) => sum + uploadedBytes, 0));
      },
    });
  }

  controlProblem(): void {
    this.#problems.inc();
  }

  async text(): Promise<{ contentType: string; text: string }> {
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}

/** Not there until the control server has named all tasks once: nothing would look like everything. */
function addOrphans(registry: Registry, orphans: AgentMetricsOptions['orphans']): void {
  // Both are asked for at once, and the disk is looked through once for both.
  let looking: ReturnType<typeof orphans> | undefined;
  const look = () => {
    looking ??= orphans().finally(() => {
      looking = undefined;
    });
    return looking;
  };
  const gauge = (name: string, help: string, measured: (found: readonly Orphan[]) => number) => {
    new Gauge({
      name,
      help,
      registers: [registry],
      async collect() {
        const found = await look();
        if (found === undefined) this.remove();
        else this.set(measured(found));
      },
    });
  };
  gauge(
    'sluice_agent_orphaned_bytes',
    'Sizes of the sets on this disk that no Distribution names: retained, in the grace after a deletion, or of a lost database; the log names them',
    (found) => found.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  );
  gauge(
    'sluice_agent_orphaned_distributions',
    'Distributions that nobody names any more and that have files on this disk',
    (found) => found.length,
  );
}
