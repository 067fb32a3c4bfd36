import type { Clock } from '../ports/clock.ts';

/** Bytes per second of payload, each way. */
export interface LinkRates {
  readonly upRate: number;
  readonly downRate: number;
}

export interface NetworkOptions {
  /** From one host to another, one way. */
  readonly delayMs: number;
}

/** Sent as one: a share of the link goes around in these. */
const QUANTUM_BYTES = 16_384;
/** Of one flow on the way, as TCP's window: more waits at the sender. */
const WINDOW_BYTES = 512 * 1024;

/** A host's two ends: what it sends goes round-robin over its flows, what it gets in order. */
export class SimulatedHost {
  readonly name: string;
  rates: LinkRates;
  isAlive = true;
  /** Flows that have something to send and may. */
  readonly sending: Flow[] = [];
  isSending = false;
  /** When its downlink has taken all that has arrived so far. */
  downFreeAtMs = 0;
  sentBytes = 0;
  receivedBytes = 0;
  /** Called once, by kill(). */
  readonly onKilled: (() => void)[] = [];

  constructor(name: string, rates: LinkRates) {
    this.name = name;
    this.rates = rates;
  }
}

interface Parcel {
  readonly bytes: Uint8Array;
  readonly deliver: (part: Uint8Array) => void;
  readonly delivered: (() => void) | undefined;
  sent: number;
}

/** One direction between two hosts: in order, nothing lost, held up while the way is cut. */
export class Flow {
  readonly from: SimulatedHost;
  readonly to: SimulatedHost;
  readonly port: number;
  readonly #network: SimulatedNetwork;
  readonly #parcels: Parcel[] = [];
  readonly #held: (() => void)[] = [];
  #queuedBytes = 0;
  #onWayBytes = 0;
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

  send(bytes: Uint8Array, deliver: (part: Uint8Array) => void, delivered?: () => void): void {
    if (this.#isClosed) {
      delivered?.();
      return;
    }
    this.#parcels.push({ bytes, deliver, delivered, sent: 0 });
    this.#queuedBytes += bytes.byteLength;
    this.#list();
  }

  /** What is under way arrives nowhere. */
  close(): void {
    this.#isClosed = true;
    for (const { delivered } of this.#parcels.splice(0)) delivered?.();
    this.#queuedBytes = 0;
    for (const arrive of this.#held.splice(0)) arrive();
  }

  /** The way is open again. */
  resume(): void {
    for (const arrive of this.#held.splice(0)) arrive();
    this.#list();
  }

  get #isReady(): boolean {
    return (
      !this.#isClosed &&
      this.#parcels.length > 0 &&
      this.#onWayBytes < WINDOW_BYTES &&
      this.from.isAlive &&
      !this.#network.isCut(this)
    );
  }

  #list(): void {
    if (this.#isListed || !this.#isReady) return;
    this.#isListed = true;
    this.from.sending.push(this);
    this.#network.pump(this.from);
  }

  /** The next part, taken off the queue; answers its bytes and what is to follow when it is here. */
  take(): { bytes: number; arrive: () => void } | undefined {
    this.#isListed = false;
    const parcel = this.#parcels[0];
    if (!this.#isReady || parcel === undefined) return undefined;
    const part = parcel.bytes.subarray(parcel.sent, parcel.sent + QUANTUM_BYTES);
    parcel.sent += part.byteLength;
    const isLast = parcel.sent >= parcel.bytes.byteLength;
    if (isLast) this.#parcels.shift();
    this.#queuedBytes -= part.byteLength;
    this.#onWayBytes += part.byteLength;
    const arrive = () => {
      if (!this.#isClosed && this.#network.isCut(this)) {
        this.#held.push(arrive);
        return;
      }
      this.#onWayBytes -= part.byteLength;
      if (!this.#isClosed && this.to.isAlive) parcel.deliver(part);
      if (isLast) parcel.delivered?.();
      this.#list();
    };
    return { bytes: part.byteLength, arrive };
  }

  /** It has sent its part: at the end of the round again. */
  sent(): void {
    this.#list();
    if (this.#queuedBytes === 0 && !this.#isClosed) this.onDrain();
  }
}

/** Whether nothing goes from one host to the other, to or from this port. */
export type Cut = (from: SimulatedHost, to: SimulatedHost, port: number) => boolean;

/** Links with rates and a delay between all of them. Congestion is none: what waits, waits. */
export class SimulatedNetwork {
  readonly #options: NetworkOptions;
  readonly #clock: Clock;
  readonly #hosts = new Map<string, SimulatedHost>();
  readonly #flows = new Set<Flow>();
  readonly #cuts = new Set<Cut>();

  constructor(options: NetworkOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  get delayMs(): number {
    return this.#options.delayMs;
  }

  add(name: string, rates: LinkRates): SimulatedHost {
    const host = new SimulatedHost(name, rates);
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
    for (const cut of this.#cuts) if (cut(from, to, port)) return true;
    return false;
  }

  /** Its process ends; others hear of it. */
  kill(host: SimulatedHost): void {
    host.isAlive = false;
    for (const each of host.onKilled.splice(0)) each();
  }

  pump(host: SimulatedHost): void {
    if (host.isSending) return;
    const flow = host.sending.shift();
    if (flow === undefined) return;
    const part = flow.take();
    if (part === undefined) {
      this.pump(host);
      return;
    }
    host.isSending = true;
    const sendMs = (part.bytes / host.rates.upRate) * 1000;
    this.#clock.setTimer(sendMs, () => {
      host.isSending = false;
      host.sentBytes += part.bytes;
      this.#arrive(flow.to, part);
      flow.sent();
      this.pump(host);
    });
  }

  /** Cut through: the first bit is passed on as it comes, the last one as fast as both links are. */
  #arrive(to: SimulatedHost, { bytes, arrive }: { bytes: number; arrive: () => void }): void {
    const atMs = this.#clock.now() + this.#options.delayMs;
    const takesMs = (bytes / to.rates.downRate) * 1000;
    to.downFreeAtMs = Math.max(atMs, to.downFreeAtMs + takesMs);
    this.#clock.setTimer(to.downFreeAtMs - this.#clock.now(), () => {
      to.receivedBytes += bytes;
      arrive();
    });
  }
}
