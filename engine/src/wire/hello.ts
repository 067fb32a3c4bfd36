/*
 * wire/ encodes and decodes what goes between peers, with a bound on everything. Pure.
 *
 * The first bytes of a connection, 101 from each side: the handshake of BEP 3 with the bits of
 * BEP 6 and BEP 10, then the role and a nonce. Each side then proves that it knows the swarm's
 * secret with an HMAC over proofMessage() (32 bytes), the acceptor first; only then messages follow.
 *
 * The fourth of the reserved bytes, which no BEP uses, names the version of all that follows. What
 * may change without another version: docs/adr/0026.
 */
import { WireError } from './codec.ts';

export type PeerRole = 'relay' | 'agent';

export interface Hello {
  readonly swarmId: Uint8Array;
  readonly peerId: Uint8Array;
  readonly role: PeerRole;
  readonly nonce: Uint8Array;
  /** The bits of BEP 3, as they were sent: a newer release may set more. Absent: ours. */
  readonly reserved?: Uint8Array;
}

export const PEER_ID_BYTES = 20;
export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;
const HANDSHAKE_BYTES = 68;
export const HELLO_BYTES = HANDSHAKE_BYTES + 1 + NONCE_BYTES;

const PROTOCOL = Buffer.from('\x13BitTorrent protocol', 'latin1');
const EXTENSIONS_BIT = 0x10;
const FAST_BIT = 0x04;
const VERSION = 1;
const RESERVED = Buffer.of(0, 0, 0, VERSION - 1, 0, EXTENSIONS_BIT, 0, FAST_BIT);
const PROOF_CONTEXT = Buffer.from('sluice membership v1\0');

export function encodeHello({ swarmId, peerId, role, nonce, reserved = RESERVED }: Hello): Buffer {
  return Buffer.concat([PROTOCOL, reserved, swarmId, peerId, Buffer.of(roleByte(role)), nonce]);
}

/** Throws a WireError for anything but a hello with fast and extension messages. Copies. */
export function decodeHello(bytes: Uint8Array): Hello {
  const own = Buffer.from(bytes);
  if (own.length !== HELLO_BYTES || !own.subarray(0, PROTOCOL.length).equals(PROTOCOL)) {
    throw new WireError('Malformed', 'no hello of ours');
  }
  const reserved = own.subarray(20, 28);
  const version = (reserved[3] as number) + 1;
  if (version !== VERSION) {
    const message = `it speaks version ${version} of the peers' protocol, this process ${VERSION}`;
    throw new WireError('UnknownVersion', message);
  }
  const fast = ((reserved[7] as number) & FAST_BIT) !== 0;
  const extensions = ((reserved[5] as number) & EXTENSIONS_BIT) !== 0;
  const role = own[HANDSHAKE_BYTES];
  if (!fast || !extensions || (role !== 0 && role !== 1)) {
    throw new WireError('Malformed', 'a hello without what every peer of ours has');
  }
  return {
    swarmId: own.subarray(28, 48),
    peerId: own.subarray(48, 68),
    role: role === 0 ? 'relay' : 'agent',
    nonce: own.subarray(HANDSHAKE_BYTES + 1),
    reserved,
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
