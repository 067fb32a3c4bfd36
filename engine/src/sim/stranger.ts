import type { PeerAddress, PeerSocket, Transport } from '../ports/transport.ts';
import { mutate } from './mutation.ts';
import type { SeededRandom } from './seededRandom.ts';
import type { VirtualClock } from './virtualClock.ts';

/** How one speaks to those that it calls. */
export interface Speech {
  /** The first thing that is said. */
  hello(): Buffer;
  /** What follows when so much has come back; undefined: too little, and it goes on without. */
  answer(received: Buffer): Buffer | undefined;
  message(): Buffer;
}

export interface StrangerOptions {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  /** Another host for each call: who was banned is not heard any more. */
  readonly transport: () => Transport;
  readonly speech: Speech;
  readonly targets: readonly PeerAddress[];
}

/** Of what it says so much is spoiled; of the handshake less, else nothing would follow it. */
const SPOILED_SHARE = 0.5;
const SPOILED_HANDSHAKE_SHARE = 0.05;
const MAX_MESSAGES = 12;
/** Between two messages: long enough to see that the connection was closed. */
const PAUSE_MS = 2;
/** Of what comes back only the beginning is of interest. */
const MAX_KEPT_BYTES = 1_024;

/** Calls one after the other, says right and spoiled messages, and hears only what answers its first. */
export class Stranger {
  readonly #options: StrangerOptions;
  #spoiled = 0;
  #isStopped = false;

  constructor(options: StrangerOptions) {
    this.#options = options;
  }

  /** Messages with mistakes that were said over open connections. */
  get spoiled(): number {
    return this.#spoiled;
  }

  stop(): void {
    this.#isStopped = true;
  }

  async start(): Promise<void> {
    const { random, targets } = this.#options;
    while (!this.#isStopped) {
      await this.#call(random.pick(targets));
      await this.#pause();
    }
  }

  async #call(target: PeerAddress): Promise<void> {
    const { random, transport, speech } = this.#options;
    let isClosed = false;
    let received = Buffer.alloc(0);
    const handlers = {
      onData: (chunk: Uint8Array) => {
        if (received.length < MAX_KEPT_BYTES) received = Buffer.concat([received, chunk]);
      },
      onDrain: () => {},
      onClose: () => {
        isClosed = true;
      },
    };
    let socket: PeerSocket;
    try {
      socket = await transport().connect(target, handlers, new AbortController().signal);
    } catch {
      return;
    }
    const say = async (bytes: Buffer, share: number) => {
      const isSpoiled = random.next() < share;
      if (isSpoiled) this.#spoiled += 1;
      socket.write([isSpoiled ? mutate(bytes, random) : bytes]);
      await this.#pause();
    };
    await say(speech.hello(), SPOILED_HANDSHAKE_SHARE);
    const answer = isClosed ? undefined : speech.answer(received);
    if (answer !== undefined) await say(answer, SPOILED_HANDSHAKE_SHARE);
    for (let left = 1 + random.below(MAX_MESSAGES); left > 0 && !isClosed; left -= 1) {
      await say(speech.message(), SPOILED_SHARE);
    }
    socket.close('said enough');
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#options.clock.setTimer(PAUSE_MS, resolve));
  }
}
