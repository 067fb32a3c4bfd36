import type { Clock } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';
import type { PeerAddress, PeerSocket, SocketHandlers, Transport } from '../ports/transport.ts';
import type { PeerRole } from '../wire/hello.ts';
import type { CloseReason } from './closeReason.ts';

/** A peer that the tracker names. */
export interface ListedPeer {
  readonly id: string;
  readonly role: PeerRole;
  readonly host: string;
  readonly port: number;
  readonly httpPort?: number;
}

/** A connection that is opened from here, before and after it is open. */
export interface Dialed extends SocketHandlers {
  readonly number: number;
  attach(socket: PeerSocket): void;
  close(reason: CloseReason, detail?: string): void;
  /** There is no socket. */
  connectFailed(message: string): void;
}

interface Entry<C extends Dialed> {
  readonly peer: PeerAddress;
  connection: C | undefined;
  failures: number;
  nextAtMs: number;
}

export interface PeerListDependencies<C extends Dialed> {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly connect: () => C;
}

const FIRST_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 5000;
/** A verdict on bytes comes a moment after them; by then so many others may have come. */
const MAX_REMEMBERED = 4096;

/** Keeps one connection open to each peer of the list that is not banned, with backoff. */
export class PeerList<C extends Dialed> {
  readonly #dependencies: PeerListDependencies<C>;
  readonly #entries = new Map<string, Entry<C>>();
  readonly #banned = new Set<string>();
  /** Of the last connections, by their number. */
  readonly #addresses = new Map<number, string>();
  readonly #abort = new AbortController();

  constructor(dependencies: PeerListDependencies<C>) {
    this.#dependencies = dependencies;
  }

  /** The complete list: connections to peers that left it are closed. */
  set(peers: readonly PeerAddress[]): void {
    const listed = new Map(peers.map((peer) => [addressOf(peer), peer]));
    for (const [address, entry] of this.#entries) {
      if (listed.has(address)) continue;
      this.#entries.delete(address);
      entry.connection?.close('NotListed');
    }
    for (const [address, peer] of listed) {
      if (this.#entries.has(address)) continue;
      this.#entries.set(address, { peer, connection: undefined, failures: 0, nextAtMs: 0 });
    }
  }

  /** Opens what is due. */
  connectDue(): void {
    const now = this.#dependencies.clock.now();
    for (const [address, entry] of this.#entries) {
      if (entry.connection !== undefined || entry.nextAtMs > now) continue;
      if (!this.#banned.has(address)) this.#open(entry);
    }
  }

  opened(connection: C): void {
    const entry = this.#entryOf(connection);
    if (entry !== undefined) entry.failures = 0;
  }

  closed(connection: C): void {
    const entry = this.#entryOf(connection);
    if (entry === undefined) return;
    const { clock, random } = this.#dependencies;
    const backoffMs = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** entry.failures);
    entry.connection = undefined;
    entry.failures = Math.min(10, entry.failures + 1);
    entry.nextAtMs = clock.now() + backoffMs * (0.5 + random.next());
  }

  /**
   * By address, as the tracker issued it, for as long as the transfer lives; it may have left.
   * Answers the address, unless it is banned already or was never called from here.
   */
  ban(number: number): string | undefined {
    const address = this.#addresses.get(number);
    if (address === undefined || this.#banned.has(address)) return undefined;
    this.#banned.add(address);
    this.#entries.get(address)?.connection?.close('WrongBytes', `${address} is banned`);
    return address;
  }

  closeAll(reason: CloseReason): void {
    for (const { connection } of this.#entries.values()) connection?.close(reason);
  }

  stop(): void {
    this.#abort.abort(new Error('stopped'));
    this.closeAll('Stopped');
    this.#entries.clear();
  }

  #open(entry: Entry<C>): void {
    const { transport, connect } = this.#dependencies;
    const connection = connect();
    entry.connection = connection;
    this.#remember(connection.number, addressOf(entry.peer));
    transport.connect(entry.peer, connection, this.#abort.signal).then(
      (socket) => connection.attach(socket),
      (error: Error) => connection.connectFailed(error.message),
    );
  }

  #remember(number: number, address: string): void {
    this.#addresses.set(number, address);
    const oldest = this.#addresses.keys().next().value;
    if (this.#addresses.size > MAX_REMEMBERED && oldest !== undefined) {
      this.#addresses.delete(oldest);
    }
  }

  #entryOf(connection: C): Entry<C> | undefined {
    for (const entry of this.#entries.values()) if (entry.connection === connection) return entry;
    return undefined;
  }
}

function addressOf({ host, port }: PeerAddress): string {
  return `${host}:${port}`;
}
