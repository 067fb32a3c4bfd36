/** What is read again when its turn comes; a net.Socket is one. */
export interface Readable {
  resume(): void;
}

/** A request waits so long at most; on a link of 100 Mbit/s some 80 packets come meanwhile. */
const TURN_MS = 10;
/**
 * With fewer peers than this there are few wake-ups to save, and what each of them may owe is soon
 * answered: it would be the turns that decide how fast it comes.
 */
const MANY_SOCKETS = 4;
/** Who was read within it counts as a peer that gives or takes. */
const PERIOD_MS = 100;

/**
 * Lets what comes over slow links gather in the kernel. A socket that was read empty is looked at
 * again in the next turn, all of them in one, instead of at each packet: a process with twenty peers
 * on 100 Mbit/s otherwise wakes a thousand times a second, and spends a tenth of its time on that.
 */
export class ReadTurns {
  #waiting: Readable[] = [];
  #read = new Set<Readable>();
  #readBefore = 0;
  #periodEndsAtMs = 0;

  /** It was read empty. Whether it is to be paused now; it is resumed in the next turn. */
  rests(socket: Readable): boolean {
    const nowMs = performance.now();
    if (nowMs >= this.#periodEndsAtMs) {
      // A period in which nothing was read says that there is nobody.
      this.#readBefore = nowMs < this.#periodEndsAtMs + PERIOD_MS ? this.#read.size : 0;
      this.#read = new Set();
      this.#periodEndsAtMs = nowMs + PERIOD_MS;
    }
    this.#read.add(socket);
    if (Math.max(this.#read.size, this.#readBefore) < MANY_SOCKETS) return false;
    if (this.#waiting.push(socket) === 1) setTimeout(() => this.#turn(), TURN_MS);
    return true;
  }

  #turn(): void {
    const due = this.#waiting;
    this.#waiting = [];
    for (const socket of due) socket.resume();
  }
}
