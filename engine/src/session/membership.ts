import { createHmac, timingSafeEqual } from 'node:crypto';
import { type Hello, proofMessage } from '../wire/hello.ts';

export type Side = 'opener' | 'acceptor';

/** HMAC-SHA256 with the swarm's secret, which only authenticated processes receive. */
export function prove(secret: Uint8Array, opener: Hello, acceptor: Hello, side: Side): Buffer {
  return createHmac('sha256', secret)
    .update(proofMessage(opener, acceptor, side))
    .digest();
}

export function proves(
  proof: Uint8Array,
  secret: Uint8Array,
  opener: Hello,
  acceptor: Hello,
  side: Side,
): boolean {
  return timingSafeEqual(proof, prove(secret, opener, acceptor, side));
}
