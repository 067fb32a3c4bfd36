import type { Clock } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';
import type { Transport } from '../ports/transport.ts';
import { type ConnectionOwner, PeerConnection } from '../session/peerConnection.ts';
import { LARGE_REQUEST_BYTES } from '../wire/codec.ts';
import { openMembership } from './openMembership.ts';

export interface DeafMemberOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly swarmId: Buffer;
  readonly pieceCount: number;
}

const PEER_ID_BYTES = 20;
const KEEP_ALIVE_MS = 60_000;

/** Knows the secret, asks for much, says now and then that it lives, and never leaves by itself. */
export class DeafMember {
  readonly #options: DeafMemberOptions;
  readonly #connections: PeerConnection[] = [];

  constructor(options: DeafMemberOptions) {
    this.#options = options;
  }

  connect(host: string, port: number): void {
    const { clock, random, transport, swarmId, pieceCount } = this.#options;
    const owner: ConnectionOwner = {
      swarmId,
      membership: openMembership,
      pieceCount,
      opened: (connection) => connection.send({ type: 'haveNone' }, { type: 'interested' }),
      received: () => {},
      idle: () => {},
      drained: () => {},
      blockBegins: () => undefined,
      blockEnds: () => {},
      closed: () => {},
      broke: () => {},
    };
    const connection = new PeerConnection(owner, {
      clock,
      random,
      peerId: random.bytes(PEER_ID_BYTES),
      // Not an agent, which relays would show pieces to one by one, and wait for.
      role: 'relay',
      find: () => undefined,
      waits: () => {},
      ended: () => {},
    });
    this.#connections.push(connection);
    transport.connect({ host, port }, connection, new AbortController().signal).then(
      (socket) => connection.attach(socket),
      () => {},
    );
  }

  /** The first block of each piece, of everybody, in an order of its own. */
  ask(): void {
    const { random, pieceCount } = this.#options;
    const first = Math.floor(random.next() * pieceCount);
    for (const connection of this.#connections) {
      const blocks = Array.from({ length: pieceCount }, (_, at) => ({
        piece: (first + at) % pieceCount,
        offset: 0,
        length: LARGE_REQUEST_BYTES,
      }));
      if (connection.isOpen) connection.request(blocks);
    }
    this.#live();
  }

  #live(): void {
    const { clock } = this.#options;
    for (const connection of this.#connections) connection.keepAlive(clock.now());
    clock.setTimer(KEEP_ALIVE_MS, () => this.#live());
  }
}
