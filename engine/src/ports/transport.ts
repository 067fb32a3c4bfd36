/** Byte streams between peers; TCP in production, seeded links in simulation. */
export interface Transport {
  connect(address: PeerAddress, handlers: SocketHandlers, signal: AbortSignal): Promise<PeerSocket>;
  listen(port: number, accept: (socket: PeerSocket) => SocketHandlers): Promise<Listener>;
}

export interface PeerAddress {
  readonly host: string;
  readonly port: number;
}

export interface PeerSocket {
  readonly remoteHost: string;
  /** Bytes accepted but not yet taken by the network. */
  readonly queuedBytes: number;
  /**
   * Queues; the buffers must not change until `onSent` is called, once, when the network has taken
   * them or never will. Never throws; a dead socket ends by onClose.
   */
  write(buffers: readonly Uint8Array[], onSent?: () => void): void;
  /** Idempotent; `reason` goes to onClose. */
  close(reason: string): void;
}

export interface SocketHandlers {
  /** The chunk is only valid during the call (it may be a reused buffer). */
  onData(chunk: Uint8Array): void;
  /** The queue fell under the low-water mark. */
  onDrain(): void;
  onClose(reason: string): void;
}

export interface Listener {
  readonly port: number;
  close(): Promise<void>;
}
