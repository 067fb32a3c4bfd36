/**
 * An origin with sockets, as its own meter sees them, and the way of each machine to it. What a
 * node that lost its power had open stays open until the origin has heard nothing for closeAfter;
 * so does what a machine has reset while its way was cut, unless the origin sends something when it
 * is not cut any more.
 */
import type { SeededRandom } from '@sluice/engine/sim/seededRandom.ts';
import type { VirtualClock } from '@sluice/engine/sim/virtualClock.ts';
import type { Faults } from './faults.ts';
import type { Machine } from './machine.ts';
import type { OriginOracle } from './originOracle.ts';

export interface SimulatedOriginOptions {
  readonly closeAfterMs: number;
  readonly sizeBytes: number;
  /** From a request to the first byte of its answer, about. */
  readonly latencyMs: number;
  /** Of this host's path, no ranges are given. */
  readonly streams: string;
  /** What is counted by itself: hosts and prefixes of their paths. */
  readonly places: readonly string[];
  readonly wallMs: () => number;
}

export const HEAD_BYTES = 400;
export const CHUNK = new Uint8Array(65_536);
/** In both kernels, unread. */
const MAX_UNREAD_BYTES = 1_048_576;
/** Until a kernel sends again what was lost. */
const AGAIN_MS = 1_000;

/** One TCP connection, at the origin. */
export interface Socket {
  readonly machine: Machine;
  readonly place: string;
  isOpen: boolean;
  /** Its machine has given it up, and answers to it with a reset. */
  isGone: boolean;
  /** Asked for something, and not done with it. */
  isAnswering: boolean;
  /** Ours has come: it closes when it has answered. */
  isEnding: boolean;
  /** When the origin last heard of the other end. */
  heardAtMs: number;
  /** Packets come in order, each way. */
  inAtMs: number;
  outAtMs: number;
  /** What to do with bytes of an answer; undefined: nobody is there to read. */
  reader: ((bytes: number, isLast: boolean, isHead: boolean) => void) | undefined;
  ended: () => void;
  unreadBytes: number;
  goOn: () => void;
}

export class SimulatedOrigin {
  readonly #world: VirtualClock;
  readonly #random: SeededRandom;
  readonly #faults: Faults;
  readonly #oracle: OriginOracle;
  readonly #options: SimulatedOriginOptions;
  readonly #sockets = new Set<Socket>();
  /** Machines whose way to here is cut, and until when. */
  readonly #cut = new Map<Machine, number>();
  /** How many connections of a machine have ended without a word of ours. */
  readonly #unproven = new Map<Machine, number>();

  constructor(
    options: SimulatedOriginOptions,
    dependencies: {
      world: VirtualClock;
      random: SeededRandom;
      faults: Faults;
      oracle: OriginOracle;
    },
  ) {
    this.#options = options;
    this.#world = dependencies.world;
    this.#random = dependencies.random;
    this.#faults = dependencies.faults;
    this.#oracle = dependencies.oracle;
  }

  /** Nothing passes, either way; what waits for an answer is sent again afterwards. */
  cutOff(machine: Machine, forMs: number): void {
    const untilMs = this.#world.now() + forMs;
    this.#cut.set(machine, Math.max(untilMs, this.#cut.get(machine) ?? 0));
  }

  endedUnproven(machine: Machine): void {
    this.#unproven.set(machine, this.unprovenOf(machine) + 1);
  }

  unprovenOf(machine: Machine): number {
    return this.#unproven.get(machine) ?? 0;
  }

  get unprovenEnds(): number {
    let sum = 0;
    for (const count of this.#unproven.values()) sum += count;
    return sum;
  }

  isCut(machine: Machine): boolean {
    return this.#world.now() < (this.#cut.get(machine) ?? 0);
  }

  /** Its kernel closes what the process had open; without power nothing is said. */
  ended(machine: Machine, hasPower: boolean): void {
    for (const socket of this.#sockets) {
      if (socket.machine !== machine) continue;
      socket.reader = undefined;
      socket.ended = () => {};
      if (hasPower) this.reset(socket);
    }
  }

  get clock(): VirtualClock {
    return this.#world;
  }

  streams(url: URL): boolean {
    return url.hostname === this.#options.streams;
  }

  #placeOf({ hostname, pathname }: URL): string {
    const path = hostname + pathname;
    const place = this.#options.places.find((each) => path.startsWith(`${each}/`));
    if (place === undefined) throw new Error(`nothing is at ${path}`);
    return place;
  }

  get sizeBytes(): number {
    return this.#options.sizeBytes;
  }

  /** The handshake; the socket counts from when its first packet has arrived. */
  connect(machine: Machine, url: URL, connected: () => void, ended: () => void): Socket {
    const socket: Socket = {
      machine,
      place: this.#placeOf(url),
      isOpen: false,
      isGone: false,
      isAnswering: false,
      isEnding: false,
      heardAtMs: 0,
      inAtMs: 0,
      outAtMs: 0,
      reader: undefined,
      ended,
      unreadBytes: 0,
      goOn: () => {},
    };
    this.#sockets.add(socket);
    this.toOrigin(socket, () => {
      socket.isOpen = true;
      this.#oracle.opened(socket.place, this.#world.now(), this.#options.wallMs());
      this.#heard(socket);
      this.#watch(socket);
      this.#toMachine(socket, connected);
    });
    return socket;
  }

  /** A packet in order with those before it; one that is lost comes again, until it is given up. */
  toOrigin(socket: Socket, arrived: () => void): void {
    const isHeld = this.isCut(socket.machine);
    socket.inAtMs = Math.max(this.#arrivalMs(socket.machine), socket.inAtMs);
    const arrive = () => {
      if (!isHeld) arrived();
      else if (socket.isGone || !socket.machine.isAlive) return;
      else if (this.isCut(socket.machine)) this.toOrigin(socket, arrived);
      // A machine that sleeps sends nothing again. Nor does the kernel of a process that is frozen,
      // here: what it would send after the lease is over nobody can hold back (adr/0029).
      else if (!socket.machine.isRunning) this.#world.setTimer(AGAIN_MS, arrive);
      else arrived();
    };
    this.#world.setTimer(socket.inAtMs - this.#world.now(), arrive);
  }

  /** Nobody sends a reset twice. */
  reset(socket: Socket): void {
    socket.isGone = true;
    socket.reader = undefined;
    socket.ended = () => {};
    if (!this.isCut(socket.machine)) this.toOrigin(socket, () => this.#close(socket));
  }

  /** Our end; answered by its own, at once or when everything is answered. */
  end(socket: Socket): void {
    this.toOrigin(socket, () => {
      socket.isEnding = true;
      this.#heard(socket);
      if (!socket.isAnswering || this.#random.next() < 0.5) this.#hangUp(socket);
    });
  }

  ask(socket: Socket, payloadBytes: number): void {
    this.toOrigin(socket, () => {
      if (!socket.isOpen) return;
      this.#heard(socket);
      socket.isAnswering = true;
      const stallMs = this.#faults.happens('originStalls') ? this.#random.next() * 3_000 : 0;
      const delayMs = this.#options.latencyMs * (0.5 + this.#random.next()) + stallMs;
      this.#world.setTimer(delayMs, () => {
        if (this.#faults.happens('originFails')) this.#write(socket, 200, 200, true);
        else this.#write(socket, payloadBytes, payloadBytes, true);
      });
    });
  }

  /** Somebody has read so much. */
  read(socket: Socket, bytes: number): void {
    const acknowledged = () => {
      socket.unreadBytes -= bytes;
      this.#heard(socket);
      socket.goOn();
    };
    if (this.isCut(socket.machine)) this.toOrigin(socket, acknowledged);
    else acknowledged();
  }

  /** The next part of an answer, and those after it as far as they are read. */
  #write(socket: Socket, bytes: number, leftBytes: number, isHead: boolean): void {
    if (!socket.isOpen) return;
    if (socket.unreadBytes >= MAX_UNREAD_BYTES) {
      socket.goOn = () => {
        socket.goOn = () => {};
        this.#write(socket, bytes, leftBytes, isHead);
      };
      return;
    }
    if (this.#faults.happens('originHangsUp')) {
      this.#hangUp(socket);
      return;
    }
    const part = Math.min(leftBytes, 1 + this.#random.below(CHUNK.byteLength));
    const sent = part + (isHead ? HEAD_BYTES : 0);
    this.#oracle.wrote(socket.place, sent, this.#world.now(), this.#options.wallMs());
    socket.unreadBytes += part;
    const isLast = part === leftBytes;
    this.#toMachine(socket, () => socket.reader?.(part, isLast, isHead));
    if (isLast) {
      socket.isAnswering = false;
      if (socket.isEnding) this.#hangUp(socket);
      return;
    }
    const delayMs = this.#random.next() * 4;
    this.#world.setTimer(delayMs, () => this.#write(socket, bytes, leftBytes - part, false));
  }

  #hangUp(socket: Socket): void {
    this.#close(socket);
    this.#toMachine(socket, () => socket.ended());
  }

  #toMachine(socket: Socket, arrived: () => void): void {
    const isHeld = this.isCut(socket.machine);
    socket.outAtMs = Math.max(this.#arrivalMs(socket.machine), socket.outAtMs);
    this.#world.setTimer(socket.outAtMs - this.#world.now(), () => {
      if (isHeld && this.isCut(socket.machine)) this.#toMachine(socket, arrived);
      else if (socket.isGone) this.reset(socket);
      else socket.machine.enter(arrived);
    });
  }

  #arrivalMs(machine: Machine): number {
    const now = this.#world.now();
    const untilMs = this.#cut.get(machine) ?? 0;
    return untilMs > now ? untilMs + this.#random.next() * AGAIN_MS : now + this.#delayMs();
  }

  #heard(socket: Socket): void {
    socket.heardAtMs = this.#world.now();
  }

  #watch(socket: Socket): void {
    const leftMs = socket.heardAtMs + this.#options.closeAfterMs - this.#world.now();
    if (!socket.isOpen) return;
    if (leftMs <= 0) this.#hangUp(socket);
    else this.#world.setTimer(leftMs, () => this.#watch(socket));
  }

  #close(socket: Socket): void {
    this.#sockets.delete(socket);
    if (!socket.isOpen) return;
    socket.isOpen = false;
    this.#oracle.closed(socket.place);
  }

  #delayMs(): number {
    return 0.5 + this.#random.next() * 5;
  }
}
