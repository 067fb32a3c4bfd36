import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type {
  Listener,
  PeerAddress,
  PeerSocket,
  SocketHandlers,
  Transport,
} from '../../ports/transport.ts';
import { ReadTurns } from './readTurns.ts';
import { WriteTurns } from './writeTurns.ts';

/** Every read of a connection that we opened lands here and is consumed before the next one. */
const READ_BUFFER = Buffer.allocUnsafeSlow(262_144);
const CONNECT_TIMEOUT_MS = 3000;
/** Messages of so little together are copied into one: each part of a write costs more than that. */
const SMALL_BYTES = 16_384;
/** A read of so much means that more is there: it goes on at once. */
const BUSY_READ_BYTES = 65_536;

const readTurns = new ReadTurns();
const writeTurns = new WriteTurns();

export const tcpTransport: Transport = {
  connect: (address, handlers, signal) => open(address, handlers, signal),
  listen,
};

function open(
  { host, port }: PeerAddress,
  handlers: SocketHandlers,
  signal: AbortSignal,
): Promise<PeerSocket> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({
      host,
      port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 15_000,
      onread: {
        buffer: READ_BUFFER,
        callback: (bytes): boolean => {
          handlers.onData(READ_BUFFER.subarray(0, bytes));
          return bytes >= BUSY_READ_BYTES || !readTurns.rests(socket);
        },
      },
    });
    const abort = () => socket.destroy(new Error('aborted'));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('connect timed out')));
    const failed = (error: Error) => {
      signal.removeEventListener('abort', abort);
      reject(error);
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.removeAllListeners('timeout');
      socket.removeListener('error', failed);
      signal.removeEventListener('abort', abort);
      resolve(new TcpSocket(socket, handlers));
    });
  });
}

function listen(port: number, accept: (socket: PeerSocket) => SocketHandlers): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const sockets = new Set<Socket>();
    const server: Server = createServer({ noDelay: true, keepAlive: true }, (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      let handlers: SocketHandlers | undefined;
      const wrapped = new TcpSocket(socket, {
        onData: (chunk) => handlers?.onData(chunk),
        onDrain: () => handlers?.onDrain(),
        onClose: (reason) => handlers?.onClose(reason),
      });
      handlers = accept(wrapped);
      socket.on('data', (chunk: Buffer) => {
        handlers?.onData(chunk);
        if (chunk.length < BUSY_READ_BYTES && readTurns.rests(socket)) socket.pause();
      });
    });
    server.once('error', reject);
    server.listen(port, () => {
      server.removeListener('error', reject);
      server.on('error', () => {});
      resolve({
        port: (server.address() as AddressInfo).port,
        close: () => {
          for (const socket of sockets) socket.destroy();
          return new Promise((closed) => server.close(() => closed()));
        },
      });
    });
  });
}

class TcpSocket implements PeerSocket {
  readonly remoteHost: string;
  readonly #socket: Socket;
  #reason = 'closed by peer';

  constructor(socket: Socket, handlers: SocketHandlers) {
    this.#socket = socket;
    // An IPv4 address that came in over an IPv6 socket is the same peer.
    this.remoteHost = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
    socket.on('drain', () => handlers.onDrain());
    socket.on('error', (error) => {
      this.#reason = error.message;
    });
    socket.once('close', () => handlers.onClose(this.#reason));
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  write(buffers: readonly Uint8Array[], onSent?: () => void): void {
    if (this.#socket.destroyed || !this.#socket.writable) {
      onSent?.();
      return;
    }
    writeTurns.wait(this.#socket);
    const isSmall = buffers.length > 1 && lengthOf(buffers) <= SMALL_BYTES;
    const parts = isSmall ? [Buffer.concat(buffers)] : buffers;
    const last = parts.length - 1;
    parts.forEach((part, at) => {
      // Node calls back for a socket that is destroyed, too.
      this.#socket.write(part, at === last && onSent !== undefined ? () => onSent() : undefined);
    });
  }

  close(reason: string): void {
    if (this.#socket.destroyed) return;
    this.#reason = reason;
    this.#socket.destroy();
  }
}

function lengthOf(buffers: readonly Uint8Array[]): number {
  return buffers.reduce((sum, { byteLength }) => sum + byteLength, 0);
}
