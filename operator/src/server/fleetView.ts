/**
 * The processes of the fleet as this leader knows them: their work streams, what they have been
 * told and have reported, and which of them have surely ended.
 */
import type {
  Report,
  TransferReport,
  TransferState,
  WorkMessage,
} from '@sluice/protocol/messages.ts';
import type { PodObject } from './callers.ts';
import { NestedMap } from './nestedMap.ts';
import type { Agents } from './nodeBook.ts';
import { reportIntervalMs } from './reportInterval.ts';
import { Reports } from './reports.ts';
import type { Session } from './sessions.ts';
import type { ProcessInfo, Tombstone, Work } from './work.ts';

/** The open work stream of a process. */
export interface WorkStream {
  send(message: WorkMessage): void;
  close(): void;
}

export interface FleetProcess extends ProcessInfo {
  readonly pod: string;
  readonly podUid: string;
  /** See Caller. */
  nodeUid: string | undefined;
  /** Of the control protocol, in its newest session. */
  protocolVersion: number;
  stream: WorkStream | undefined;
  synced: boolean;
  /** Over its open stream, by distribution. */
  told: Map<string, Work>;
  /** Of the newest report. */
  reportSequence: number;
  readonly reports: Reports;
  /** On the server's clock: when it was heard of last, by stream or report. */
  seenAtMs: number;
  readonly sessionAtMs: number;
  /** Of its newest session, since the Unix epoch. */
  sessionExpiresAtMs: number;
}

/** Another run of the same pod has a newer session: this one is over, and what it sent came late. */
export class OvertakenError extends Error {
  readonly code = 'Overtaken';

  constructor(pod: string) {
    super(`another process runs in pod ${pod}; one that runs still gets a new session`);
    this.name = 'OvertakenError';
  }
}

/** A transfer whose state is another one than in the report before. */
export interface Turn {
  readonly transfer: TransferReport;
  /** Undefined: nothing was said of it. */
  readonly before: TransferState | undefined;
}

export interface FleetListener {
  /** Its task lists may differ now. */
  changed(): void;
  reported(
    process: FleetProcess,
    transfers: readonly TransferReport[],
    turns: readonly Turn[],
  ): void;
  /** Its container has ended: nothing of it is open any more. */
  ended(process: FleetProcess): void;
}

/** A session may come before the news of the container that ran before it. */
const SURE_AFTER_MS = 10_000;
const GONE_AFTER_MS = 30_000;
/**
 * Besides two intervals of reports. Who lives says something every 30 s, and an interval later when
 * there are many (reportLoop.ts). A stream to a machine that is cut off stays open much longer: its
 * kernel says nothing, and ours repeats what we sent for a quarter of an hour.
 */
const UNHEARD_AFTER_MS = 73_000;

/** Most of a lease's life. */
const LAPSED_AFTER_MS = 8_000;

export class FleetView {
  readonly #processes = new Map<string, FleetProcess>();
  /** The same by uid of their pods, and agents by node, with their ids. */
  readonly #runs = new NestedMap<string, FleetProcess>();
  readonly #agentsOn = new NestedMap<string, FleetProcess>();
  readonly #listener: FleetListener;
  /** Asked for at each look at a distribution; undefined when a process or stream has come or gone. */
  #agents: Agents | undefined;
  #connected: readonly FleetProcess[] | undefined;
  #relays: readonly FleetProcess[] | undefined;

  constructor(listener: FleetListener) {
    this.#listener = listener;
  }

  list(): IterableIterator<FleetProcess> {
    return this.#processes.values();
  }

  /** Those with an open stream: the same array as long as they are the same. */
  connected(): readonly FleetProcess[] {
    this.#connected ??= [...this.#processes.values()].filter(({ stream }) => stream !== undefined);
    return this.#connected;
  }

  /** Relays among them. */
  relays(): readonly FleetProcess[] {
    this.#relays ??= this.connected().filter(({ kind }) => kind === 'relay');
    return this.#relays;
  }

  /** By node; of a node with several runs of its agent, whether one of them is connected. */
  agents(): Agents {
    if (this.#agents !== undefined) return this.#agents;
    const agents = new Map<string, 'connected' | 'silent'>();
    for (const { kind, node, stream } of this.#processes.values()) {
      if (kind !== 'agent' || agents.get(node) === 'connected') continue;
      agents.set(node, stream === undefined ? 'silent' : 'connected');
    }
    this.#agents = agents;
    return agents;
  }

  get(id: string): FleetProcess | undefined {
    return this.#processes.get(id);
  }

  /** A process shows up with its session; it is known from then on. Throws an OvertakenError. */
  meet(session: Session, nowMs: number): FleetProcess {
    const known = this.#processes.get(session.id);
    if (known !== undefined) {
      known.seenAtMs = nowMs;
      known.protocolVersion = session.protocolVersion;
      // A node that was only registered anew keeps its agent.
      known.nodeUid = session.nodeUid ?? known.nodeUid;
      known.sessionExpiresAtMs = Math.max(known.sessionExpiresAtMs, session.expiresAtMs);
      return known;
    }
    // One main process a container: another run of the same pod proves that the one before is over.
    // Which one was before, their sessions tell: a kernel sends on what its process had said.
    const runs = [...this.#runs.of(session.podUid).values()];
    if (runs.some(({ sessionExpiresAtMs }) => sessionExpiresAtMs > session.expiresAtMs)) {
      throw new OvertakenError(session.pod);
    }
    for (const run of runs) this.#end(run);
    // A node has one agent: of the one before the end was not heard, as when its machine died.
    if (session.kind === 'agent') {
      for (const before of this.#agentsOn.of(session.node).values()) this.#closeStream(before);
    }
    const process: FleetProcess = {
      id: session.id,
      kind: session.kind,
      node: session.node,
      domain: session.domain,
      dedicatedTo: session.dedicatedTo,
      host: session.host,
      bitTorrentPort: session.bitTorrentPort,
      httpPort: session.httpPort,
      pod: session.pod,
      podUid: session.podUid,
      nodeUid: session.nodeUid,
      protocolVersion: session.protocolVersion,
      stream: undefined,
      synced: false,
      told: new Map(),
      reportSequence: -1,
      reports: new Reports(),
      seenAtMs: nowMs,
      sessionAtMs: nowMs,
      sessionExpiresAtMs: session.expiresAtMs,
    };
    this.#add(process);
    return process;
  }

  open(session: Session, stream: WorkStream, nowMs: number): FleetProcess {
    const process = this.meet(session, nowMs);
    process.stream?.close();
    process.stream = stream;
    process.synced = false;
    process.told = new Map();
    this.#changed();
    return process;
  }

  closed(process: FleetProcess, stream: WorkStream, nowMs: number): void {
    if (process.stream !== stream) return;
    process.stream = undefined;
    process.seenAtMs = nowMs;
    this.#changed();
  }

  /** One that was overtaken by a newer one, or comes again, changes nothing. */
  report(process: FleetProcess, { sequence, transfers }: Report, nowMs: number): void {
    process.seenAtMs = nowMs;
    if (sequence <= process.reportSequence) return;
    process.reportSequence = sequence;
    const turns: Turn[] = [];
    for (const transfer of transfers) {
      const before = process.reports.get(transfer.uid, transfer.epoch);
      if (!process.reports.set(transfer)) continue;
      if (before?.state !== transfer.state) turns.push({ transfer, before: before?.state });
    }
    this.#listener.reported(process, transfers, turns);
  }

  /** What the API server says of a pod; `pod` is undefined when the object is gone. */
  podChanged(pod: PodObject | undefined, previous: PodObject | undefined, nowMs: number): void {
    const last = pod ?? previous;
    if (last === undefined) return;
    const statuses = last.status?.containerStatuses ?? [];
    // A pod that was deleted by force says nothing of its containers: they may run.
    const isOver =
      statuses.length > 0 && statuses.every(({ state }) => state?.terminated !== undefined);
    for (const process of [...this.#runs.of(last.metadata.uid).values()]) {
      const isSure = pod === undefined || nowMs - process.sessionAtMs > SURE_AFTER_MS;
      if (isOver && isSure && process.stream === undefined) this.#end(process);
    }
  }

  /**
   * Forgets what was not heard of for long; leases of it run out by themselves. One that lives opens
   * another stream when its own is closed.
   */
  sweep(nowMs: number): void {
    const unheardMs = UNHEARD_AFTER_MS + 2 * reportIntervalMs(this.connected().length);
    for (const process of [...this.#processes.values()]) {
      if (process.stream !== undefined && nowMs - process.seenAtMs > unheardMs) {
        this.#closeStream(process);
        // What it held is given up before it is forgotten: at the next look.
        continue;
      }
      if (process.stream === undefined && nowMs - process.seenAtMs > GONE_AFTER_MS) {
        this.#drop(process);
        this.#changed();
      }
    }
  }

  /** Its lease has run out. Whoever can speak to us renews it, and reports what comes meanwhile. */
  lapsed(id: string, nowMs: number): void {
    const process = this.#processes.get(id);
    if (process?.stream === undefined || nowMs - process.seenAtMs < LAPSED_AFTER_MS) return;
    this.#closeStream(process);
  }

  /** One that lives opens another stream, and says all again; of one that is dead none stays open. */
  hangUp(process: FleetProcess): void {
    if (process.stream !== undefined) this.#closeStream(process);
  }

  clear(): void {
    for (const { stream } of this.#processes.values()) stream?.close();
    this.#processes.clear();
    this.#runs.clear();
    this.#agentsOn.clear();
    this.#forgetViews();
  }

  #add(process: FleetProcess): void {
    this.#processes.set(process.id, process);
    this.#runs.set(process.podUid, process.id, process);
    if (process.kind === 'agent') this.#agentsOn.set(process.node, process.id, process);
    this.#forgetViews();
  }

  #drop(process: FleetProcess): void {
    this.#processes.delete(process.id);
    this.#runs.delete(process.podUid, process.id);
    this.#agentsOn.delete(process.node, process.id);
    this.#forgetViews();
  }

  #changed(): void {
    this.#forgetViews();
    this.#listener.changed();
  }

  #forgetViews(): void {
    this.#agents = undefined;
    this.#connected = undefined;
    this.#relays = undefined;
  }

  #closeStream(process: FleetProcess): void {
    process.stream?.close();
    process.stream = undefined;
    this.#changed();
  }

  #end(process: FleetProcess): void {
    process.stream?.close();
    process.stream = undefined;
    this.#drop(process);
    this.#listener.ended(process);
    this.#listener.changed();
  }
}

/** Whether it is a relay that works on the epoch no more until what was in its way is gone. */
export function isFailedRelay(
  { kind, reports }: FleetProcess,
  { uid, epoch }: Pick<TransferReport, 'uid' | 'epoch'>,
): boolean {
  return kind === 'relay' && reports.get(uid, epoch)?.state === 'failed';
}

/** Whether this process need not be waited for any more before a distribution counts as removed. */
export function hasRemoved(process: FleetProcess, { uid, deleteFiles }: Tombstone): boolean {
  const told = process.told.get(uid)?.removals.find(({ epoch }) => epoch === undefined);
  // Files that were to stay at first may have to go later.
  const isTold = told !== undefined && (told.deleteFiles || !deleteFiles);
  if (!isTold || (process.kind === 'agent' && !deleteFiles)) return isTold;
  const reports = [...process.reports.of(uid).values()];
  return reports.length > 0 && reports.every(({ state }) => state === 'removed');
}
