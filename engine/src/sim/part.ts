import type { Flow } from './network.ts';
import type { TimedEvent } from './virtualClock.ts';

/** What is sent as one, and who hears of it. */
export interface Parcel {
  readonly buffers: readonly Uint8Array[];
  readonly bytes: number;
  readonly deliver: (part: Uint8Array) => void;
  readonly delivered: (() => void) | undefined;
  sent: number;
}

/** What goes over the links as one: some of one parcel, or small ones that lie behind each other. */
export class Part implements TimedEvent {
  readonly flow: Flow;
  readonly parcel: Parcel;
  readonly from: number;
  bytes: number;
  /** Whole. */
  behind: Parcel[] | undefined;
  sentAtMs = 0;
  readonly #end: number;

  constructor(flow: Flow, parcel: Parcel, from: number, bytes: number) {
    this.flow = flow;
    this.parcel = parcel;
    this.from = from;
    this.bytes = bytes;
    this.#end = from + bytes;
  }

  add(parcel: Parcel): void {
    this.behind ??= [];
    this.behind.push(parcel);
    this.bytes += parcel.bytes;
  }

  fire(): void {
    this.flow.arrived(this);
  }

  /** `isHeard`: the receiver is there. Answers whether a sender is to be told. */
  deliver(isHeard: boolean): boolean {
    if (isHeard) this.#deliverOwn();
    let tells = false;
    const { parcel } = this;
    if (this.#end >= parcel.bytes && parcel.delivered !== undefined) {
      parcel.delivered();
      tells = true;
    }
    for (const { buffers, deliver, delivered } of this.behind ?? NOTHING) {
      if (isHeard) for (const buffer of buffers) deliver(buffer);
      if (delivered === undefined) continue;
      delivered();
      tells = true;
    }
    return tells;
  }

  #deliverOwn(): void {
    const { buffers, bytes, deliver } = this.parcel;
    if (this.#end - this.from === bytes) {
      for (const buffer of buffers) deliver(buffer);
      return;
    }
    let start = 0;
    for (const buffer of buffers) {
      const from = Math.max(0, this.from - start);
      const to = Math.min(buffer.byteLength, this.#end - start);
      if (from < to) deliver(buffer.subarray(from, to));
      start += buffer.byteLength;
    }
  }
}

const NOTHING: readonly Parcel[] = [];

/** With TCP: the sender hears that a part has come. */
export class Acknowledgement implements TimedEvent {
  readonly #part: Part;

  constructor(part: Part) {
    this.#part = part;
  }

  fire(): void {
    this.#part.flow.acknowledge(this.#part);
  }
}
