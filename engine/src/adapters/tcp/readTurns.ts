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
 * Fewer reads in a period than this cost next to nothing. Where a swarm begins, each of them is what
 * the first piece waits for: the offer, its request, its bytes. In turns four sockets have more.
 */
const MANY_READS = 24;

/**
 * Lets what comes over slow links gather in the kernel. A socket that was read empty is looked at
 * again in the next turn, all of them in one, instead of at each packet: a process with twenty peers
 * on 100 Mbit/s otherwise wakes a thousand times a second, and spends a tenth of its time on that.
 */
export class ReadTurns {
  #waiting: Readable[] = [];
  #period = emptyPeriod();
  #before = emptyPeriod();
  #periodEndsAtMs = 0;

  /** It was read empty. Whether it is to be paused now; it is resumed in the next turn. */
  rests(socket: Readable): boolean {
    const nowMs = performance.now();
    if (nowMs >= this.#periodEndsAtMs) {
      // A period in which nothing was read says that there is nobody.
      this.#before = nowMs < this.#periodEndsAtMs + PERIOD_MS ? this.#period : emptyPeriod();
      this.#period = emptyPeriod();
      this.#periodEndsAtMs = nowMs + PERIOD_MS;
    }
    this.#period.sockets.add(socket);
    this.#period.reads += 1;
    if (!isBusy(this.#period) && !isBusy(this.#before)) return false;
    if (this.#waiting.push(socket) === 1) setTimeout(() => this.#turn(), TURN_MS);
    return true;
  }

  #turn(): void {
    const due = this.#waiting;
    this.#waiting = [];
    for (const socket of due) socket.resume();
  }
}

interface Period {
  readonly sockets: Set<Readable>;
  reads: number;
}

function emptyPeriod(): Period {
  return { sockets: new Set(), reads: 0 };
}

function isBusy({ sockets, reads }: Period): boolean {
  return sockets.size >= MANY_SOCKETS && reads >= MANY_READS;
}
