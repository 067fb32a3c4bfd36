/**
 * The work stream of one process. What it is to be told waits here as messages and becomes bytes
 * only as fast as the connection takes them: thousands are told in one turn of the event loop, in
 * which no connection takes anything. The server decides nothing here.
 */
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import type { WorkMessage } from '@sluice/protocol/messages.ts';
import type { WorkStream } from './fleetView.ts';
import { NestedMap } from './nestedMap.ts';
import type { Sender, SendingTurns } from './sendingTurns.ts';
import { lineOf } from './work.ts';

/** The answer to a request, whose connection may be known. */
export type Sink = Writable & { readonly socket?: Socket | null };

export interface QueuedStreamDependencies {
  readonly clock: Clock;
  /** Of all streams. */
  readonly turns: SendingTurns;
  /** The process has taken nothing for long, and its connection is destroyed. */
  readonly onHung: () => void;
}

interface Waiting {
  message: WorkMessage;
}

/**
 * A task of a thousand files is a third of a megabyte: it goes in parts of what Node.js takes at
 * once. And what is less goes with what comes after it: each write has its price.
 */
const PART_BYTES = 64 * 1024;
/** A process that takes no part for so long has hung: it comes back when it lives. */
const HUNG_MS = 15_000;

export class QueuedStream implements WorkStream, Sender {
  readonly #sink: Sink;
  readonly #deps: QueuedStreamDependencies;
  /** In the order in which they are sent. */
  readonly #queue = new Set<Waiting>();
  /** By distribution and by what they say of it: those that a newer message takes the place of. */
  readonly #replaceable = new NestedMap<string, Waiting>();
  /** Of a line that is being sent. */
  #rest: Buffer = Buffer.alloc(0);
  #hung: Timer | undefined;
  #isFull = false;
  #isOver = false;

  constructor(sink: Sink, dependencies: QueuedStreamDependencies) {
    this.#sink = sink;
    this.#deps = dependencies;
  }

  start(): this {
    this.#sink.on('drain', () => {
      this.#hung?.cancel();
      this.#isFull = false;
      this.write();
    });
    this.#sink.once('close', () => this.#end());
    return this;
  }

  send(message: WorkMessage): void {
    if (this.#isOver) return;
    const { uid, what } = subjectOf(message);
    const outdated = this.#replaceable.get(uid, what);
    if (message.type === 'remove') {
      // What comes after it must not come before it.
      this.#replaceable.deleteAll(uid);
      this.#queue.add({ message });
    } else if (outdated !== undefined) outdated.message = message;
    else {
      const waiting = { message };
      this.#queue.add(waiting);
      this.#replaceable.set(uid, what, waiting);
    }
    this.#deps.turns.ask(this);
  }

  /** What waits is not said any more: the next stream begins with everything. */
  close(): void {
    this.#end();
    this.#sink.end();
  }

  write(): void {
    while (!this.#isFull && !this.#isOver) {
      const part = this.#part();
      if (part.length === 0) return;
      this.#isFull = !this.#writeNow(part);
      if (this.#isFull) this.#hung = this.#deps.clock.setTimer(HUNG_MS, () => this.#giveUp());
    }
  }

  /** An answer would be written after all others whose turn it is, when nobody counts the time. */
  #writeNow(part: Buffer): boolean {
    const { socket } = this.#sink;
    socket?.cork();
    const takesMore = this.#sink.write(part);
    socket?.uncork();
    return takesMore;
  }

  /** A long line stays the one that all streams share, but for what goes now. Empty: nothing waits. */
  #part(): Buffer {
    const pieces: Buffer[] = [];
    for (let room = PART_BYTES; room > 0; ) {
      if (this.#rest.length === 0) this.#rest = this.#next();
      if (this.#rest.length === 0) break;
      const piece = this.#rest.subarray(0, room);
      this.#rest = this.#rest.subarray(room);
      room -= piece.length;
      pieces.push(piece);
    }
    return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
  }

  /** Empty: nothing waits. */
  #next(): Buffer {
    for (const waiting of this.#queue) {
      this.#queue.delete(waiting);
      const { uid, what } = subjectOf(waiting.message);
      if (this.#replaceable.get(uid, what) === waiting) this.#replaceable.delete(uid, what);
      return lineOf(waiting.message);
    }
    return Buffer.alloc(0);
  }

  #giveUp(): void {
    this.#end();
    this.#sink.destroy();
    this.#deps.onHung();
  }

  #end(): void {
    this.#isOver = true;
    this.#hung?.cancel();
    this.#queue.clear();
    this.#replaceable.clear();
  }
}

/** What a message speaks of: a newer one of the same says all that is so. */
function subjectOf(message: WorkMessage): { readonly uid: string; readonly what: string } {
  switch (message.type) {
    case 'task':
      return { uid: message.task.uid, what: `task ${message.task.epoch}` };
    case 'peers':
    case 'askLease':
    case 'remove':
      return { uid: message.uid, what: `${message.type} ${message.epoch}` };
    case 'synced':
    case 'heartbeat':
    case 'reported':
    case 'reportRefused':
      return { uid: '', what: message.type };
  }
}
