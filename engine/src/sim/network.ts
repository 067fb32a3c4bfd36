import { acknowledged, type CongestionState, firstState, idleState } from './congestion.ts';
import { Acknowledgement, type Parcel, Part } from './part.ts';
import type { TimedEvent, VirtualClock } from './virtualClock.ts';

/** Bytes per second of payload, each way. */
export interface LinkRates {
  readonly upRate: number;
  readonly downRate: number;
}

export interface NetworkOptions {
  /** From one host to another, one way. */
  readonly delayMs: number;
  /** What a flow sends at once before the next flow has its turn. */
  readonly quantumBytes?: number;
  /**
   * As TCP does: a flow begins slowly, what a host sends waits in one queue, and acknowledgements
   * wait in it, too. Absent: a flow has a fixed window and only links hold it up.
   */
  readonly tcp?: boolean;
  /** Without TCP: of what a host receives so much goes back over its uplink. Absent: nothing. */
  readonly acknowledgedShare?: number;
}

const QUANTUM_BYTES = 16_384;
/** Of one flow on the way without TCP: more waits at the sender. */
const WINDOW_BYTES = 512 * 1024;
/** What waits at the receiver's end of its link, and with TCP in the sender's queue, at most. */
const MAX_QUEUE_MS = 50;
/** A message that small goes between the parts of others. */
const SMALL_BYTES = 4_096;
/** Of an acknowledgement on the wire; one for each part. */
const ACK_BYTES = 66;

/** A host's two ends: what it sends goes round-robin over its flows, what it gets in order. */
export class SimulatedHost implements TimedEvent {
  readonly name: string;
  rates: LinkRates;
  isAlive = true;
  /** Flows that have something to send and may. */
  readonly sending: Flow[] = [];
  /** Flows to this host that wait until its link has taken more of what is there. */
  readonly held: Flow[] = [];
  /** When its links have taken all that they were given so far. */
  upFreeAtMs = 0;
  downFreeAtMs = 0;
  sentBytes = 0;
  receivedBytes = 0;
  /** Called once each, by kill(). */
  readonly onKilled = new Set<() => void>();
  readonly #network: SimulatedNetwork;
  #part: Part | undefined;

  constructor(network: SimulatedNetwork, name: string, rates: LinkRates) {
    this.#network = network;
    this.name = name;
    this.rates = rates;
  }

  /** The next part goes out, when none does. */
  pump(): void {
    if (this.#part !== undefined) return;
    let part: Part | undefined;
    while (part === undefined) {
      const flow = this.sending.shift();
      if (flow === undefined) return;
      part = flow.take();
    }
    const { clock } = this.#network;
    this.#part = part;
    part.sentAtMs = Math.max(clock.now(), this.upFreeAtMs);
    this.upFreeAtMs = part.sentAtMs + (part.bytes / this.rates.upRate) * 1000;
    clock.at(this.upFreeAtMs, this);
  }

  /** It is out. */
  fire(): void {
    const part = this.#part as Part;
    this.#part = undefined;
    this.sentBytes += part.bytes;
    this.#network.carry(part, this.#network.clock.now());
    part.flow.sent();
    this.pump();
  }

  isSending(flow: Flow): boolean {
    return this.#part?.flow === flow;
  }

  /** How long what it sends now waits behind what it has sent, in the queue before its link. */
  queueMs(): number {
    let bytes = 0;
    for (const flow of this.sending) bytes += flow.releasedBytes;
    return Math.min(MAX_QUEUE_MS, (bytes / this.rates.upRate) * 1000);
  }

  /** What it has received is acknowledged: at the cost of what it sends next. */
  acknowledge(bytes: number, nowMs: number): void {
    const busyMs = (bytes * this.#network.acknowledgedShare * 1000) / this.rates.upRate;
    if (busyMs > 0) this.upFreeAtMs = Math.max(nowMs, this.upFreeAtMs) + busyMs;
  }

  /** Its link has taken something: others may send. */
  release(nowMs: number): void {
    while (this.held.length > 0 && this.downFreeAtMs - nowMs < MAX_QUEUE_MS) {
      this.held.shift()?.letGo();
    }
  }
}

/** One direction between two hosts: in order, nothing lost, held up while the way is cut. */
export class Flow {
  readonly from: SimulatedHost;
  readonly to: SimulatedHost;
  readonly port: number;
  readonly #network: SimulatedNetwork;
  readonly #parcels: Parcel[] = [];
  /** Arrived while the way is cut. */
  #stopped: Part[] | undefined;
  #queuedBytes = 0;
  #onWayBytes = 0;
  #congestion: CongestionState | undefined;
  /** In a list of its sender or its receiver, or being sent. */
  #isListed = false;
  #isClosed = false;
  /** The queue has become empty. */
  onDrain: () => void = () => {};

  constructor(network: SimulatedNetwork, from: SimulatedHost, to: SimulatedHost, port: number) {
    this.#network = network;
    this.from = from;
    this.to = to;
    this.port = port;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** What its window lets it send now, and the link has not taken. */
  get releasedBytes(): number {
    return Math.max(0, Math.min(this.#queuedBytes, this.#windowBytes - this.#onWayBytes));
  }

  send(
    buffers: readonly Uint8Array[],
    deliver: (part: Uint8Array) => void,
    delivered?: () => void,
  ): void {
    if (this.#isClosed) {
      delivered?.();
      return;
    }
    const bytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const parcel = { buffers, bytes, deliver, delivered, sent: 0 };
    if (bytes <= SMALL_BYTES && this.#parcels.length === 0 && this.#mayOvertake()) {
      this.#sendSmall(parcel);
      return;
    }
    this.#parcels.push(parcel);
    this.#queuedBytes += bytes;
    this.#list();
  }

  /** What is under way arrives nowhere. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const { delivered } of this.#parcels.splice(0)) delivered?.();
    this.#queuedBytes = 0;
    this.#deliverStopped();
  }

  /** The way is open again. */
  resume(): void {
    this.#deliverStopped();
    this.#list();
  }

  /** The receiver's link has room again. */
  letGo(): void {
    this.#isListed = false;
    this.#list();
  }

  /** The next part, taken off the queue. */
  take(): Part | undefined {
    this.#isListed = false;
    const parcel = this.#parcels[0];
    if (!this.#isReady || parcel === undefined) return undefined;
    if (this.to.downFreeAtMs - this.#network.clock.now() >= MAX_QUEUE_MS) {
      this.#isListed = true;
      this.to.held.push(this);
      return undefined;
    }
    const bytes = Math.min(
      parcel.bytes - parcel.sent,
      this.#network.quantumBytes,
      Math.max(1, this.#windowBytes - this.#onWayBytes),
    );
    const part = new Part(this, parcel, parcel.sent, bytes);
    parcel.sent += bytes;
    if (parcel.sent >= parcel.bytes) this.#parcels.shift();
    this.#addSmall(part);
    this.#queuedBytes -= part.bytes;
    this.#onWayBytes += part.bytes;
    this.#isListed = true;
    return part;
  }

  /** What is small and lies behind a part that is at its parcel's end goes with it. */
  #addSmall(part: Part): void {
    if (part.parcel.sent < part.parcel.bytes) return;
    let next = this.#parcels[0];
    while (next !== undefined && next.bytes <= SMALL_BYTES && next.sent === 0) {
      part.add(next);
      this.#parcels.shift();
      next = this.#parcels[0];
    }
  }

  /** It has sent its part: at the end of the round again. */
  sent(): void {
    this.#isListed = false;
    this.#list();
    if (this.#queuedBytes === 0 && !this.#isClosed) this.onDrain();
  }

  arrived(part: Part): void {
    const network = this.#network;
    const nowMs = network.clock.now();
    this.to.receivedBytes += part.bytes;
    this.to.acknowledge(part.bytes, nowMs);
    if (!this.#isClosed && network.isCut(this)) {
      this.#stopped ??= [];
      this.#stopped.push(part);
    } else {
      this.#deliver(part);
      if (network.tcp) network.acknowledge(new Acknowledgement(part), this);
      else this.acknowledge(part);
    }
    this.to.release(nowMs);
  }

  acknowledge({ bytes, sentAtMs }: Part): void {
    this.#onWayBytes -= bytes;
    if (this.#congestion !== undefined) {
      const nowMs = this.#network.clock.now();
      this.#congestion = acknowledged(this.#congestion, { bytes, sentAtMs, nowMs });
    }
    this.#list();
  }

  get #windowBytes(): number {
    return this.#congestion?.windowBytes ?? WINDOW_BYTES;
  }

  get #isReady(): boolean {
    return (
      !this.#isClosed &&
      this.#parcels.length > 0 &&
      this.#onWayBytes < this.#windowBytes &&
      this.from.isAlive &&
      !this.#network.isCut(this)
    );
  }

  #mayOvertake(): boolean {
    if (this.#isListed || this.from.isSending(this)) return false;
    return this.from.isAlive && !this.#network.isCut(this);
  }

  /** At once, at the cost of those who send next. */
  #sendSmall(parcel: Parcel): void {
    const { from } = this;
    const { clock, tcp } = this.#network;
    const nowMs = clock.now();
    const part = new Part(this, parcel, 0, parcel.bytes);
    parcel.sent = parcel.bytes;
    part.sentAtMs = nowMs;
    from.upFreeAtMs = Math.max(nowMs, from.upFreeAtMs) + (part.bytes / from.rates.upRate) * 1000;
    from.sentBytes += part.bytes;
    this.#onWayBytes += part.bytes;
    this.#network.carry(part, nowMs);
    if (tcp) this.#congestion ??= firstState(nowMs);
  }

  #list(): void {
    if (this.#isListed || !this.#isReady) return;
    this.#isListed = true;
    if (this.#network.tcp) {
      const nowMs = this.#network.clock.now();
      this.#congestion ??= firstState(nowMs);
      if (this.#onWayBytes === 0) this.#congestion = idleState(this.#congestion, nowMs);
    }
    this.from.sending.push(this);
    this.from.pump();
  }

  #deliverStopped(): void {
    for (const part of this.#stopped?.splice(0) ?? []) {
      this.#deliver(part);
      this.#onWayBytes -= part.bytes;
    }
  }

  #deliver(part: Part): void {
    const isHeard = !this.#isClosed && this.to.isAlive;
    if (part.deliver(isHeard)) this.#network.clock.settleSoon();
  }
}

/** Whether nothing goes from one host to the other, to or from this port. */
export type Cut = (from: SimulatedHost, to: SimulatedHost, port: number) => boolean;

/** Links with rates and a delay between all of them. */
export class SimulatedNetwork {
  readonly clock: VirtualClock;
  readonly delayMs: number;
  readonly quantumBytes: number;
  readonly tcp: boolean;
  readonly acknowledgedShare: number;
  readonly #hosts = new Map<string, SimulatedHost>();
  readonly #flows = new Set<Flow>();
  readonly #cuts = new Set<Cut>();

  constructor(options: NetworkOptions, clock: VirtualClock) {
    this.clock = clock;
    this.delayMs = options.delayMs;
    this.quantumBytes = options.quantumBytes ?? QUANTUM_BYTES;
    this.tcp = options.tcp ?? false;
    this.acknowledgedShare = options.acknowledgedShare ?? 0;
  }

  add(name: string, rates: LinkRates): SimulatedHost {
    const host = new SimulatedHost(this, name, rates);
    this.#hosts.set(name, host);
    return host;
  }

  host(name: string): SimulatedHost | undefined {
    return this.#hosts.get(name);
  }

  open(from: SimulatedHost, to: SimulatedHost, port: number): Flow {
    const flow = new Flow(this, from, to, port);
    this.#flows.add(flow);
    return flow;
  }

  close(flow: Flow): void {
    flow.close();
    this.#flows.delete(flow);
  }

  /** Nothing goes through where this is true; nothing is lost. Answers what opens the way again. */
  cut(isCut: Cut): () => void {
    this.#cuts.add(isCut);
    return () => {
      this.#cuts.delete(isCut);
      for (const flow of [...this.#flows]) if (!this.isCut(flow)) flow.resume();
    };
  }

  isCut({ from, to, port }: Pick<Flow, 'from' | 'to' | 'port'>): boolean {
    if (this.#cuts.size === 0) return false;
    for (const cut of this.#cuts) if (cut(from, to, port)) return true;
    return false;
  }

  /** Its process ends; others hear of it. */
  kill(host: SimulatedHost): void {
    host.isAlive = false;
    const hooks = [...host.onKilled];
    host.onKilled.clear();
    for (const each of hooks) each();
  }

  /** Cut through: the first bit is passed on as it comes, the last one as fast as both links are. */
  carry(part: Part, sentMs: number): void {
    const { from, to } = part.flow;
    const delayMs = this.delayMs + (this.tcp ? from.queueMs() : 0);
    const takesMs = (part.bytes / to.rates.downRate) * 1000;
    const firstMs = part.sentAtMs + delayMs;
    to.downFreeAtMs = Math.max(sentMs + delayMs, Math.max(firstMs, to.downFreeAtMs) + takesMs);
    this.clock.at(to.downFreeAtMs, part);
  }

  /** Back over the receiver's own uplink, behind what it sends. */
  acknowledge(acknowledgement: TimedEvent, { to }: Flow): void {
    const nowMs = this.clock.now();
    to.upFreeAtMs = Math.max(nowMs, to.upFreeAtMs) + (ACK_BYTES / to.rates.upRate) * 1000;
    this.clock.at(nowMs + this.delayMs + to.queueMs(), acknowledgement);
  }
}
