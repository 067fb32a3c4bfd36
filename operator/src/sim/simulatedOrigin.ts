/**
 * An origin with sockets, as its own meter sees them, and the way of each machine to it. What a
 * node that lost its power had open stays open until the origin has heard nothing for closeAfter.
 */
import {
  type HttpConnection,
  type HttpSource,
  HttpSourceError,
  type HttpSourceErrorCode,
  type RangeRequest,
  type RangeResult,
  type ResponseHead,
} from '@sluice/engine/ports/httpSource.ts';
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
  readonly wallMs: () => number;
}

const HEAD_BYTES = 400;
const CHUNK = new Uint8Array(65_536);
/** In both kernels, unread. */
const MAX_UNREAD_BYTES = 1_048_576;
const SILENT_MS = 15_000;
const CLOSE_MS = 1_000;

/** One TCP connection, at the origin. */
interface Socket {
  readonly machine: Machine;
  isOpen: boolean;
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

  sourceFor(machine: Machine): HttpSource {
    return { connection: (url) => new SimulatedConnection(url, machine, this) };
  }

  /** Its kernel closes what the process had open; without power nothing is said. */
  ended(machine: Machine, hasPower: boolean): void {
    for (const socket of this.#sockets) {
      if (socket.machine !== machine) continue;
      socket.reader = undefined;
      socket.ended = () => {};
      if (hasPower) this.toOrigin(socket, () => this.#close(socket));
    }
  }

  get clock(): VirtualClock {
    return this.#world;
  }

  streams(url: URL): boolean {
    return url.hostname === this.#options.streams;
  }

  get sizeBytes(): number {
    return this.#options.sizeBytes;
  }

  /** The handshake; the socket counts from when its first packet has arrived. */
  connect(machine: Machine, connected: () => void, ended: () => void): Socket {
    const socket: Socket = {
      machine,
      isOpen: false,
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
      this.#oracle.opened(this.#world.now());
      this.#heard(socket);
      this.#watch(socket);
      this.#toMachine(socket, connected);
    });
    return socket;
  }

  /** A packet in order with those before it. */
  toOrigin(socket: Socket, arrived: () => void): void {
    socket.inAtMs = Math.max(this.#world.now() + this.#delayMs(), socket.inAtMs);
    this.#world.setTimer(socket.inAtMs - this.#world.now(), arrived);
  }

  reset(socket: Socket): void {
    socket.reader = undefined;
    socket.ended = () => {};
    this.toOrigin(socket, () => this.#close(socket));
  }

  /** Our end; answered by its own when nothing is under way. */
  end(socket: Socket): void {
    this.toOrigin(socket, () => {
      this.#close(socket);
      this.#toMachine(socket, socket.ended);
    });
  }

  ask(socket: Socket, payloadBytes: number): void {
    this.toOrigin(socket, () => {
      if (!socket.isOpen) return;
      this.#heard(socket);
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
    socket.unreadBytes -= bytes;
    this.#heard(socket);
    socket.goOn();
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
    this.#oracle.wrote(sent, this.#world.now(), this.#options.wallMs());
    socket.unreadBytes += part;
    const isLast = part === leftBytes;
    this.#toMachine(socket, () => socket.reader?.(part, isLast, isHead));
    if (isLast) return;
    const delayMs = this.#random.next() * 4;
    this.#world.setTimer(delayMs, () => this.#write(socket, bytes, leftBytes - part, false));
  }

  #hangUp(socket: Socket): void {
    this.#close(socket);
    this.#toMachine(socket, () => socket.ended());
  }

  #toMachine(socket: Socket, arrived: () => void): void {
    socket.outAtMs = Math.max(this.#world.now() + this.#delayMs(), socket.outAtMs);
    this.#world.setTimer(socket.outAtMs - this.#world.now(), () => socket.machine.enter(arrived));
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
    this.#oracle.closed();
  }

  #delayMs(): number {
    return 0.5 + this.#random.next() * 5;
  }
}

/** The same over which a holder asks: one socket after the other, as the product's own client. */
class SimulatedConnection implements HttpConnection {
  readonly #url: URL;
  readonly #machine: Machine;
  readonly #origin: SimulatedOrigin;
  #socket: Socket | undefined;
  #isBusy = false;
  #isClosing = false;

  constructor(url: URL, machine: Machine, origin: SimulatedOrigin) {
    this.#url = url;
    this.#machine = machine;
    this.#origin = origin;
  }

  async request(request: RangeRequest, signal: AbortSignal): Promise<RangeResult> {
    const lost = (code: HttpSourceErrorCode, exact: boolean, cause?: unknown) =>
      new HttpSourceError(code, code, { wireBytes: wireBytes, exact, cause });
    let wireBytes = 0;
    if (signal.aborted || this.#isClosing) throw lost('Aborted', true);
    const { range = { start: 0, end: this.#origin.sizeBytes } } = request;
    const { promise, resolve, reject } = Promise.withResolvers<RangeResult>();
    const machine = this.#machine;
    const startedAtMs = machine.now();
    let bodyBytes = 0;
    let head: ResponseHead | undefined;
    const fail = (code: HttpSourceErrorCode, exact = false, cause?: unknown) => {
      this.#reset();
      reject(lost(code, exact, cause));
    };
    const ended = () => {
      this.#socket = undefined;
      this.#origin.clock.settleSoon();
      reject(lost('ConnectionLost', true));
    };
    const abort = () => fail('Aborted');
    signal.addEventListener('abort', abort, { once: true });
    const silence = machine.setTimer(SILENT_MS, () => fail('TimedOut'));
    const isWhole = this.#origin.streams(request.url ?? this.#url);
    const asked = isWhole ? { start: 0, end: this.#origin.sizeBytes } : range;
    const reader = (part: number, isLast: boolean, isHead: boolean) => {
      this.#origin.clock.settleSoon();
      const socket = this.#socket as Socket;
      try {
        if (isHead) {
          silence.cancel();
          wireBytes += HEAD_BYTES;
          head = this.#headOf(asked, part, isLast, isWhole, machine.now() - startedAtMs);
          request.onHead(head);
        }
        wireBytes += part;
        bodyBytes += part;
        const pause = request.onChunk(CHUNK.subarray(0, part));
        if (pause === undefined) this.#origin.read(socket, part);
        else
          pause.then(
            () => this.#origin.read(socket, part),
            (cause) => fail('AnswerRefused', false, cause),
          );
      } catch (cause) {
        return fail('AnswerRefused', false, cause);
      }
      if (isLast && head !== undefined) resolve({ head, bodyBytes, wireBytes });
    };
    const send = () => {
      const socket = this.#socket as Socket;
      socket.reader = reader;
      socket.ended = ended;
      this.#origin.ask(socket, asked.end - asked.start);
    };
    this.#isBusy = true;
    if (this.#socket === undefined) {
      const opened = this.#origin.connect(
        machine,
        () => {
          if (this.#socket === opened) send();
        },
        () => ended(),
      );
      this.#socket = opened;
    } else send();
    try {
      return await promise;
    } finally {
      this.#isBusy = false;
      silence.cancel();
      signal.removeEventListener('abort', abort);
      if (this.#socket !== undefined) {
        this.#socket.reader = undefined;
        this.#socket.ended = () => {
          this.#socket = undefined;
        };
      }
    }
  }

  close(): Promise<void> {
    this.#isClosing = true;
    const socket = this.#socket;
    if (socket === undefined) return Promise.resolve();
    if (this.#isBusy) {
      this.#reset();
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.ended = () => {
      this.#socket = undefined;
      this.#origin.clock.settleSoon();
      resolve();
    };
    this.#origin.end(socket);
    this.#machine.setTimer(CLOSE_MS, () => {
      this.#reset();
      resolve();
    });
    return promise;
  }

  #reset(): void {
    if (this.#socket !== undefined) this.#origin.reset(this.#socket);
    this.#socket = undefined;
  }

  /** A short answer that is the last is an error's. */
  #headOf(
    asked: { start: number; end: number },
    part: number,
    isLast: boolean,
    isWhole: boolean,
    timeToHeadMs: number,
  ): ResponseHead {
    const isError = isLast && part < asked.end - asked.start;
    const length = isError ? part : asked.end - asked.start;
    const headers: Record<string, string> = { 'content-length': String(length) };
    if (!isError && !isWhole) {
      headers['content-range'] = `bytes ${asked.start}-${asked.end - 1}/${this.#origin.sizeBytes}`;
    }
    const status = isError ? 503 : isWhole ? 200 : 206;
    return { status, headers, headerBytes: HEAD_BYTES, timeToHeadMs };
  }
}
