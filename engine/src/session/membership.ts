import { createHmac, timingSafeEqual } from 'node:crypto';
import { type Hello, proofMessage } from '../wire/hello.ts';

export type Side = 'opener' | 'acceptor';

/** How a process shows that it belongs to a swarm. */
export interface Membership {
  prove(opener: Hello, acceptor: Hello, side: Side): Buffer;
  proves(proof: Uint8Array, opener: Hello, acceptor: Hello, side: Side): boolean;
}

/** HMAC-SHA256 with the swarm's secret, which only authenticated processes receive. */
export class HmacMembership implements Membership {
  readonly #secret: Uint8Array;

  constructor(secret: Uint8Array) {
    this.#secret = secret;
  }

  prove(opener: Hello, acceptor: Hello, side: Side): Buffer {
    return createHmac('sha256', this.#secret)
      .update(proofMessage(opener, acceptor, side))
      .digest();
  }

  proves(proof: Uint8Array, opener: Hello, acceptor: Hello, side: Side): boolean {
    return timingSafeEqual(proof, this.prove(opener, acceptor, side));
  }
}
