/**
 * TLS handshakes take turns. When a leader is gone, thousands of processes come to another replica at
 * once, and each handshake costs it about a millisecond. All at the same time they would all be done
 * after their clients have given up and begun anew, and so for ever.
 *
 * The newest goes first: who has waited for long gives up soon, and comes again as the newest.
 */
import type { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Clock } from '@sluice/engine/ports/clock.ts';

/**
 * What makes a handshake late is its client as often, which is far away or has much to do itself: of
 * those that wait for their clients there are to be enough. But all of them may come back in one turn
 * of the event loop, half a second of a slow processor, and a leader must not be late with its Lease.
 */
export const AT_ONCE = { standby: 256, leader: 64 };
/**
 * An agent waits for 60 s. One that has gone before, as a relay does, may be seen only in the
 * handshake.
 */
const PATIENCE_MS = 57_000;
/** Connections; each is an open file. */
const MAX_WAITING = 20_000;
/** Of a client that says nothing. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

type Connected = (this: HttpsServer, socket: Socket) => void;

interface Waiting {
  readonly socket: Socket;
  readonly sinceMs: number;
}

export interface HandshakesDependencies {
  readonly clock: Pick<Clock, 'now'>;
  readonly isLeader: () => boolean;
}

export class Handshakes {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #isLeader: () => boolean;
  readonly #begin: (socket: Socket) => void;
  /** The newest is the last. */
  #waiting: Waiting[] = [];
  #underWay = 0;
  /** The server itself knows of none before its handshake is done. */
  readonly #open = new Set<Socket>();

  /** Takes the server's connections from its handshake, and gives them to it in turn. */
  constructor(server: HttpsServer, { clock, isLeader }: HandshakesDependencies) {
    this.#clock = clock;
    this.#isLeader = isLeader;
    const handshakes = server.listeners('connection') as Connected[];
    this.#begin = (socket) => {
      for (const handshake of handshakes) handshake.call(server, socket);
    };
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => this.#add(socket));
    // Each ends in one of the two, at the latest after its timeout.
    server.on('secureConnection', () => this.#ended());
    server.on('tlsClientError', () => this.#ended());
  }

  /** Whatever they are at. What is accepted from now on is not among them: close the server first. */
  destroyAll(): void {
    for (const socket of this.#open) socket.destroy();
  }

  #add(socket: Socket): void {
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    socket.on('error', ignore);
    this.#waiting.push({ socket, sinceMs: this.#clock.now() });
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift()?.socket.destroy();
    this.#serve();
  }

  #ended(): void {
    this.#underWay -= 1;
    this.#serve();
  }

  #serve(): void {
    const most = this.#isLeader() ? AT_ONCE.leader : AT_ONCE.standby;
    while (this.#underWay < most) {
      const next = this.#waiting.pop();
      if (next === undefined) return;
      if (this.#clock.now() - next.sinceMs > PATIENCE_MS) {
        // All that are left are older.
        for (const { socket } of [next, ...this.#waiting.splice(0)]) socket.destroy();
        return;
      }
      if (next.socket.destroyed) continue;
      next.socket.off('error', ignore);
      this.#underWay += 1;
      this.#begin(next.socket);
    }
  }
}

function ignore(): void {}
