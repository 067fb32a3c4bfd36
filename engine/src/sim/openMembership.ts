import type { Membership, Side } from '../session/membership.ts';
import { type Hello, PROOF_BYTES } from '../wire/hello.ts';

const NONCE_PART_BYTES = 8;

/** What every host of a world can prove without a keyed hash, which would cost more than all else. */
export const openMembership: Membership = {
  prove,
  proves: (proof, opener, acceptor, side) => prove(opener, acceptor, side).equals(proof),
};

/** Of these two hellos and this side, and no others. */
function prove(opener: Hello, acceptor: Hello, side: Side): Buffer {
  const proof = Buffer.alloc(PROOF_BYTES);
  proof.set(opener.nonce.subarray(0, NONCE_PART_BYTES));
  proof.set(acceptor.nonce.subarray(0, NONCE_PART_BYTES), NONCE_PART_BYTES);
  proof[PROOF_BYTES - 1] = side === 'opener' ? 1 : 2;
  return proof;
}
