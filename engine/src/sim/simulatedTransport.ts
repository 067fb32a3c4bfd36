import type {
  Listener,
  PeerAddress,
  PeerSocket,
  SocketHandlers,
  Transport,
} from '../ports/transport.ts';
import type { Flow, SimulatedHost, SimulatedNetwork } from './network.ts';
import type { VirtualClock } from './virtualClock.ts';

/** What goes over a connection instead of what this host wrote; nothing, when it is empty. */
export type Tamper = (from: string, bytes: Uint8Array) => Uint8Array;

type Accept = (socket: PeerSocket) => SocketHandlers;

const CONNECT_TIMEOUT_MS = 3_000;

/** Who listens where, for all hosts of a network. */
export class SimulatedPorts {
  readonly network: SimulatedNetwork;
  readonly clock: VirtualClock;
  tamper: Tamper = (_, bytes) => bytes;
  readonly #listeners = new Map<string, Accept>();

  constructor(network: SimulatedNetwork, clock: VirtualClock) {
    this.network = network;
    this.clock = clock;
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
    const { network, clock } = this;
    const { promise, resolve, reject } = Promise.withResolvers<PeerSocket>();
    const timeout = clock.setTimer(CONNECT_TIMEOUT_MS, () => {
      reject(new Error('connect timed out'));
    });
    signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true });
    clock.setTimer(2 * network.delayMs, () => {
      const to = network.host(host);
      if (to === undefined || network.isCut({ from, to, port })) return;
      const accept = to.isAlive ? this.#listeners.get(`${host}:${port}`) : undefined;
      timeout.cancel();
      if (signal.aborted) return;
      if (accept === undefined) {
        reject(new Error('connection refused'));
        return;
      }
      resolve(this.#join(from, to, port, handlers, accept));
    });
    return promise;
  }

  #join(
    from: SimulatedHost,
    to: SimulatedHost,
    port: number,
    handlers: SocketHandlers,
    accept: Accept,
  ): PeerSocket {
    const { network } = this;
    const there = network.open(from, to, port);
    const back = network.open(to, from, port);
    const ends: { opener?: SocketHandlers; acceptor?: SocketHandlers } = { opener: handlers };
    let isClosed = false;
    const close = (reason: string) => {
      if (isClosed) return;
      isClosed = true;
      network.close(there);
      network.close(back);
      this.clock.setTimer(network.delayMs, () => {
        ends.opener?.onClose(reason);
        ends.acceptor?.onClose(reason);
      });
    };
    const socketOf = (
      out: Flow,
      local: SimulatedHost,
      remote: SimulatedHost,
      theirs: () => SocketHandlers | undefined,
    ) => ({
      remoteHost: remote.name,
      get queuedBytes() {
        return out.queuedBytes;
      },
      write: (buffers: readonly Uint8Array[], onSent?: () => void) => {
        const last = buffers.length - 1;
        buffers.forEach((buffer, at) => {
          const done = at === last ? onSent : undefined;
          out.send(this.tamper(local.name, buffer), (part) => theirs()?.onData(part), done);
        });
      },
      close,
    });
    there.onDrain = () => ends.opener?.onDrain();
    back.onDrain = () => ends.acceptor?.onDrain();
    for (const host of [from, to]) host.onKilled.push(() => close('the host is gone'));
    ends.acceptor = accept(socketOf(back, to, from, () => ends.opener));
    return socketOf(there, from, to, () => ends.acceptor);
  }
}
