/*
 * wire/ encodes and decodes what goes between peers, with a bound on everything. Pure.
 *
 * The first bytes of a connection, 101 from each side: the handshake of BEP 3 with the bits of
 * BEP 6 and BEP 10, then the role and a nonce. Each side then proves that it knows the swarm's
 * secret with an HMAC over proofMessage() (32 bytes), the acceptor first; only then messages follow.
 */

export type PeerRole = 'relay' | 'agent';

export interface Hello {
  readonly swarmId: Uint8Array;
  readonly peerId: Uint8Array;
  readonly role: PeerRole;
  readonly nonce: Uint8Array;
}

export const PEER_ID_BYTES = 20;
export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;
const HANDSHAKE_BYTES = 68;
export const HELLO_BYTES = HANDSHAKE_BYTES + 1 + NONCE_BYTES;

const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1');
const EXTENSIONS_BIT = 0x10;
const FAST_BIT = 0x04;
const PROOF_CONTEXT = Buffer.from('sluice membership v1\0');

export function encodeHello({ swarmId, peerId, role, nonce }: Hello): Buffer {
  const reserved = Buffer.alloc(8);
  reserved[5] = EXTENSIONS_BIT;
  reserved[7] = FAST_BIT;
  return Buffer.concat([PROTOCOL, reserved, swarmId, peerId, Buffer.of(roleByte(role)), nonce]);
}

/** Undefined for anything but a hello with fast and extension messages. Copies. */
export function decodeHello(bytes: Uint8Array): Hello | undefined {
  if (bytes.byteLength !== HELLO_BYTES) return undefined;
  const own = Buffer.from(bytes);
  if (!own.subarray(0, PROTOCOL.length).equals(PROTOCOL)) return undefined;
  const reserved = own.subarray(20, 28);
  const fast = ((reserved[7] as number) & FAST_BIT) !== 0;
  const extensions = ((reserved[5] as number) & EXTENSIONS_BIT) !== 0;
  const role = own[HANDSHAKE_BYTES];
  if (!fast || !extensions || (role !== 0 && role !== 1)) return undefined;
  return {
    swarmId: own.subarray(28, 48),
    peerId: own.subarray(48, 68),
    role: role === 0 ? 'relay' : 'agent',
    nonce: own.subarray(HANDSHAKE_BYTES + 1),
  };
}

/** What a side's proof is over: both hellos, and which side speaks, so that none can be echoed. */
export function proofMessage(opener: Hello, acceptor: Hello, side: 'opener' | 'acceptor'): Buffer {
  return Buffer.concat([
    PROOF_CONTEXT,
    Buffer.of(side === 'opener' ? 0 : 1),
    encodeHello(opener),
    encodeHello(acceptor),
  ]);
}

function roleByte(role: PeerRole): number {
  return role === 'relay' ? 0 : 1;
}
