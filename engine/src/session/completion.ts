import type { PieceStore } from '../ports/pieceStore.ts';

/** `pending`: the store is not open. */
export type TransferState = 'pending' | 'transferring' | 'verifying' | 'ready' | 'failed';

/** How far a transfer is, until its version is in its place, or it cannot go on. */
export class Completion {
  /** store.complete() is done. Never rejects; see `failed`. */
  readonly completed: Promise<void>;
  /** Rejects, with a coded error, when it cannot go on; never resolves. */
  readonly failed: Promise<never>;
  readonly #store: Pick<PieceStore, 'complete'>;
  /** Failed or stopped: what is not right any more, or not wanted, is not placed. */
  readonly #over = new AbortController();
  readonly #complete: () => void;
  readonly #reject: (error: unknown) => void;
  #state: TransferState = 'pending';

  constructor(store: Pick<PieceStore, 'complete'>) {
    const completed = Promise.withResolvers<void>();
    const failed = Promise.withResolvers<never>();
    this.#store = store;
    this.completed = completed.promise;
    this.failed = failed.promise;
    this.#complete = completed.resolve;
    this.#reject = failed.reject;
    this.failed.catch(() => {});
  }

  get state(): TransferState {
    return this.#state;
  }

  /** The store is open. */
  begin(): void {
    this.#state = 'transferring';
  }

  /** Every piece is here and as it is signed. */
  place(): void {
    this.#state = 'verifying';
    const { signal } = this.#over;
    this.#store.complete(signal).then(
      () => {
        if (signal.aborted) return;
        this.#state = 'ready';
        this.#complete();
      },
      (error) => this.fail(error),
    );
  }

  fail(error: unknown): void {
    if (this.#over.signal.aborted) return;
    this.#state = 'failed';
    this.#over.abort(error);
    this.#reject(error);
  }

  /** Fails no more. */
  stop(reason: unknown): void {
    this.#over.abort(reason);
  }
}
