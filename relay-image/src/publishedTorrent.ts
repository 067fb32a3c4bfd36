import type { Layout } from '@sluice/engine/pieces/layout.ts';
import type { Transfer } from '@sluice/engine/session/transfer.ts';
import type { StockHost } from '@sluice/engine/stock/stockHost.ts';
import type { StockSwarm } from '@sluice/engine/stock/stockSwarm.ts';
import { loadTorrent } from '@sluice/engine/torrent/loadTorrent.ts';
import { makeTorrent } from '@sluice/engine/torrent/makeTorrent.ts';

export interface PublishedTorrentOptions {
  /** Of the distribution. */
  readonly name: string;
  readonly layout: Layout;
}

export interface PublishedTorrentDependencies {
  readonly transfer: Transfer;
  /** Undefined: stock clients find nobody here. */
  readonly stock: StockHost | undefined;
  readonly onProblem: (error: unknown) => void;
}

/**
 * The finished set as an ordinary torrent. It costs reading everything once more, so it is made
 * when the first one asks for it, or at once where stock clients come in.
 */
export class PublishedTorrent {
  readonly #options: PublishedTorrentOptions;
  readonly #dependencies: PublishedTorrentDependencies;
  readonly #stopped = new AbortController();
  #isFinished = false;
  #making: Promise<void> | undefined;
  #torrent: Buffer | undefined;
  #swarm: StockSwarm | undefined;

  constructor(options: PublishedTorrentOptions, dependencies: PublishedTorrentDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  start(): void {
    this.#dependencies.transfer.completed.then(() => {
      this.#isFinished = true;
      if (this.#dependencies.stock !== undefined) this.#make();
    });
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new Error('the torrent is not wanted any more'));
    await this.#making;
    if (this.#swarm !== undefined) await this.#dependencies.stock?.remove(this.#swarm);
  }

  /** Undefined: not yet; it is being made when the set is finished. */
  ask(): Buffer | undefined {
    if (this.#torrent === undefined) this.#make();
    return this.#torrent;
  }

  /** What fails is tried again when the next one asks. */
  #make(): void {
    if (!this.#isFinished || this.#stopped.signal.aborted) return;
    this.#making ??= this.#madeAndServed()
      .catch((error) => {
        if (!this.#stopped.signal.aborted) this.#dependencies.onProblem(error);
      })
      .finally(() => {
        this.#making = undefined;
      });
  }

  async #madeAndServed(): Promise<void> {
    const { name, layout } = this.#options;
    const { transfer, stock } = this.#dependencies;
    const read = (piece: number, offset: number, length: number) =>
      transfer.read(piece, offset, length);
    const hashOf = (piece: number) => transfer.feed.hashOf(piece);
    const bytes = await makeTorrent({ name, layout, hashOf, read }, this.#stopped.signal);
    this.#torrent = bytes;
    if (stock === undefined) return;
    const swarm = stock.add({
      torrent: loadTorrent(bytes),
      content: {
        kind: 'finished',
        readInto: (piece, offset, into) => transfer.readInto(piece, offset, into),
      },
      bucket: transfer.bucket,
      uploaded: (sent) => transfer.uploaded(sent),
    });
    this.#swarm = swarm;
    // A disk that fails stock clients fails the nodes, too.
    swarm.failed.catch((error) => transfer.broke(error));
    await swarm.start();
  }
}
