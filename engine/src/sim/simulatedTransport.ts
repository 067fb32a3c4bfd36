import type {
  Listener,
  PeerAddress,
  PeerSocket,
  SocketHandlers,
  Transport,
} from '../ports/transport.ts';
import type { Flow, SimulatedHost, SimulatedNetwork } from './network.ts';

/** What goes over a connection instead of what this host wrote; nothing, when it is empty. */
export type Tamper = (from: string, bytes: Uint8Array) => Uint8Array;

type Accept = (socket: PeerSocket) => SocketHandlers;

const CONNECT_TIMEOUT_MS = 3_000;
/** What is written together and is shorter comes in one read. */
const ONE_READ_BYTES = 4_096;

/** Who listens where, for all hosts of a network. */
export class SimulatedPorts {
  readonly network: SimulatedNetwork;
  /** Absent: all is sent as it was written. */
  tamper: Tamper | undefined;
  readonly #listeners = new Map<string, Accept>();

  constructor(network: SimulatedNetwork) {
    this.network = network;
  }

  transportOf(host: SimulatedHost): Transport {
    return {
      connect: (address, handlers, signal) => this.#connect(host, address, handlers, signal),
      listen: (port, accept) => this.#listen(host, port, accept),
    };
  }

  async #listen(host: SimulatedHost, port: number, accept: Accept): Promise<Listener> {
    const key = `${host.name}:${port}`;
    this.#listeners.set(key, accept);
    return {
      port,
      close: async () => {
        // Another run of the same host may listen there by now.
        if (this.#listeners.get(key) === accept) this.#listeners.delete(key);
      },
    };
  }

  #connect(
    from: SimulatedHost,
    { host, port }: PeerAddress,
    handlers: SocketHandlers,
    signal: AbortSignal,
  ): Promise<PeerSocket> {
    const { clock, delayMs } = this.network;
    const { promise, resolve, reject } = Promise.withResolvers<PeerSocket>();
    const abort = () => reject(new Error('aborted'));
    const over = () => {
      timeout.cancel();
      signal.removeEventListener('abort', abort);
    };
    const timeout = clock.setTimer(CONNECT_TIMEOUT_MS, () => {
      over();
      reject(new Error('connect timed out'));
    });
    signal.addEventListener('abort', abort, { once: true });
    clock.setTimer(2 * delayMs, () => {
      const to = this.network.host(host);
      if (to === undefined || this.network.isCut({ from, to, port })) return;
      const accept = to.isAlive ? this.#listeners.get(`${host}:${port}`) : undefined;
      over();
      if (signal.aborted) return;
      if (accept === undefined) {
        reject(new Error('connection refused'));
        return;
      }
      const link = new Link(this, from, to, port, handlers);
      link.acceptor = accept(new LinkEnd(link, false));
      resolve(new LinkEnd(link, true));
    });
    return promise;
  }
}

/** One connection: a flow each way. */
class Link {
  readonly there: Flow;
  readonly back: Flow;
  readonly opener: SocketHandlers;
  acceptor: SocketHandlers | undefined;
  readonly ports: SimulatedPorts;
  readonly toAcceptor = (part: Uint8Array) => this.acceptor?.onData(part);
  readonly toOpener = (part: Uint8Array) => this.opener.onData(part);
  readonly #hostGone = () => this.close('the host is gone');
  #isClosed = false;

  constructor(
    ports: SimulatedPorts,
    from: SimulatedHost,
    to: SimulatedHost,
    port: number,
    opener: SocketHandlers,
  ) {
    this.ports = ports;
    this.opener = opener;
    this.there = ports.network.open(from, to, port);
    this.back = ports.network.open(to, from, port);
    this.there.onDrain = () => this.opener.onDrain();
    this.back.onDrain = () => this.acceptor?.onDrain();
    from.onKilled.add(this.#hostGone);
    to.onKilled.add(this.#hostGone);
  }

  close(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { network } = this.ports;
    const { from, to } = this.there;
    from.onKilled.delete(this.#hostGone);
    to.onKilled.delete(this.#hostGone);
    network.close(this.there);
    network.close(this.back);
    network.clock.setTimer(network.delayMs, () => {
      this.opener.onClose(reason);
      this.acceptor?.onClose(reason);
    });
  }
}

class LinkEnd implements PeerSocket {
  readonly #link: Link;
  readonly #isOpener: boolean;

  constructor(link: Link, isOpener: boolean) {
    this.#link = link;
    this.#isOpener = isOpener;
  }

  get remoteHost(): string {
    return this.#out.to.name;
  }

  get queuedBytes(): number {
    return this.#out.queuedBytes;
  }

  write(buffers: readonly Uint8Array[], onSent?: () => void): void {
    const { ports, toAcceptor, toOpener } = this.#link;
    const { tamper } = ports;
    const { name } = this.#out.from;
    const sent = tamper === undefined ? buffers : buffers.map((bytes) => tamper(name, bytes));
    this.#out.send(inFewReads(sent), this.#isOpener ? toAcceptor : toOpener, onSent);
  }

  close(reason: string): void {
    this.#link.close(reason);
  }

  get #out(): Flow {
    return this.#isOpener ? this.#link.there : this.#link.back;
  }
}

function inFewReads(buffers: readonly Uint8Array[]): readonly Uint8Array[] {
  if (buffers.length === 1) return buffers;
  const bytes = buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return bytes > ONE_READ_BYTES ? buffers : [Buffer.concat(buffers, bytes)];
}
