/** What gathers writes until it is uncorked; a net.Socket is one. */
export interface Corkable {
  cork(): void;
  uncork(): void;
}

/**
 * Sends what one turn of the event loop wrote to a socket in one system call: what a peer is asked
 * for, told and given follows from the same reads, in many small parts.
 */
export class WriteTurns {
  readonly #waiting = new Set<Corkable>();

  /** What is written to it from now on goes out at the end of this turn. */
  wait(socket: Corkable): void {
    if (this.#waiting.has(socket)) return;
    if (this.#waiting.size === 0) setImmediate(() => this.#turn());
    this.#waiting.add(socket);
    socket.cork();
  }

  #turn(): void {
    const due = [...this.#waiting];
    this.#waiting.clear();
    for (const socket of due) socket.uncork();
  }
}
