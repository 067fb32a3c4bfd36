/**
 * Whether the leader's address can be reached. When a leader dies its Lease stands for ten seconds
 * more: who is sent there meanwhile comes back with another handshake, and thousands are sent. One
 * connection that is closed at once tells it; a leader that only has much to do accepts it.
 */
import { connect } from 'node:net';
import type { Clock } from '@sluice/engine/ports/clock.ts';

/** How long what was found is believed. */
const FRESH_MS = 200;
/** An address that nobody has does not refuse. */
const TIMEOUT_MS = 1_000;

export class LeaderReach {
  readonly #clock: Pick<Clock, 'now'>;
  #seen: { readonly url: string; readonly answers: boolean; readonly atMs: number } | undefined;
  /** Being tried. */
  #trying: string | undefined;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** Looks again when what was found is old. Undefined: being found out. */
  answers(url: string): boolean | undefined {
    const seen = this.#seen;
    if (seen?.url === url && this.#clock.now() - seen.atMs < FRESH_MS) return seen.answers;
    if (this.#trying === url) return undefined;
    this.#trying = url;
    void this.#look(url);
    return undefined;
  }

  async #look(url: string): Promise<void> {
    const answers = await canConnect(url).catch(() => false);
    if (this.#trying !== url) return;
    this.#trying = undefined;
    this.#seen = { url, answers, atMs: this.#clock.now() };
  }
}

async function canConnect(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const socket = connect({ host, port: Number(port || 443), timeout: TIMEOUT_MS });
  return new Promise((resolve) => {
    const end = (answers: boolean) => {
      socket.destroy();
      resolve(answers);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.on('error', () => end(false));
  });
}
