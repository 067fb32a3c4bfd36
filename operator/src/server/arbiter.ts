/**
 * Settles what pullers disagree about: checks the evidence, asks the origin itself what the piece
 * is, and names those who were wrong.
 */
import { FeedLog } from '@sluice/engine/feed/feedLog.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { PieceDispute, Task } from '@sluice/protocol/messages.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import type { Logger } from 'winston';
import { type Claims, isDispute, wrongPullers } from '../policies/disputes.ts';

export interface ArbiterDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The hash of the piece in hex. Rejects when the origin cannot be asked now. */
  readonly ask: (task: Task, piece: number, signal: AbortSignal) => Promise<string>;
  /** Raw keys, base64. Resolves when it will not be forgotten. */
  readonly revoke: (task: Task, pullerKeys: readonly string[]) => Promise<void>;
}

interface Case {
  readonly task: Task;
  readonly abort: AbortController;
  /** By piece, the newest evidence. */
  readonly waiting: Map<number, readonly Uint8Array[]>;
  /** Who was found to be wrong, raw keys in base64. */
  readonly revoked: Set<string>;
}

/** Of one distribution: with the first that is settled most are. */
const MAX_WAITING = 16;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;

export class Arbiter {
  readonly #deps: ArbiterDependencies;
  /** By distribution, of its newest epoch. */
  readonly #cases = new Map<string, Case>();

  constructor(dependencies: ArbiterDependencies) {
    this.#deps = dependencies;
  }

  /** `task`: as a relay has it, with the source. The same dispute may come again and again. */
  consider(task: Task, disputes: readonly PieceDispute[]): void {
    const known = this.#cases.get(task.uid);
    if (known !== undefined && known.task.epoch > task.epoch) return;
    if (known !== undefined && known.task.epoch < task.epoch) this.forget(task.uid);
    const isNew = this.#cases.get(task.uid) === undefined;
    const open = this.#cases.get(task.uid) ?? newCase(task);
    for (const { piece, batches } of disputes) {
      if (open.waiting.size >= MAX_WAITING && !open.waiting.has(piece)) continue;
      open.waiting.set(
        piece,
        batches.map((batch) => Buffer.from(batch, 'base64')),
      );
    }
    if (!isNew) return;
    this.#cases.set(task.uid, open);
    void this.#hear(open);
  }

  /** Nobody has the distribution, or that epoch, any more. */
  forget(uid: string): void {
    this.#cases.get(uid)?.abort.abort(new Error('the dispute is over'));
    this.#cases.delete(uid);
  }

  clear(): void {
    for (const uid of [...this.#cases.keys()]) this.forget(uid);
  }

  /** One piece after the other, until nothing waits; never rejects. */
  async #hear(open: Case): Promise<void> {
    const { clock, logger } = this.#deps;
    const { task, waiting } = open;
    const { signal } = open.abort;
    let failures = 0;
    for (const [piece] of waiting) {
      for (;;) {
        const batches = waiting.get(piece) ?? [];
        try {
          await this.#settle(open, piece, batches);
          failures = 0;
          break;
        } catch (error) {
          if (signal.aborted) return;
          logger.warn('a dispute is not settled and is tried again', {
            uid: task.uid,
            epoch: task.epoch,
            piece,
            error,
          });
          const waitMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10));
          failures += 1;
          await sleep(clock, waitMs, signal).catch(() => {});
          if (signal.aborted) return;
        }
      }
      waiting.delete(piece);
    }
    if (this.#cases.get(task.uid) === open) this.#cases.delete(task.uid);
  }

  async #settle(open: Case, piece: number, batches: readonly Uint8Array[]): Promise<void> {
    const { ask, revoke, logger } = this.#deps;
    const { task, revoked } = open;
    const claims = claimsOf(task, piece, batches, revoked);
    // An origin without ranges would have to give the whole file for it.
    if (!isDispute(claims) || task.source?.ranges !== true) return;
    const truth = await ask(task, piece, open.abort.signal);
    const wrong = wrongPullers(claims, truth).map((hex) =>
      Buffer.from(hex, 'hex').toString('base64'),
    );
    await revoke(task, wrong);
    for (const key of wrong) revoked.add(key);
    const { uid, epoch } = task;
    logger.warn('pullers signed what the origin does not give, and are revoked', {
      uid,
      epoch,
      piece,
      pullers: wrong,
    });
  }
}

function newCase(task: Task): Case {
  const revoked = new Set(task.revokedPullers);
  return { task, abort: new AbortController(), waiting: new Map(), revoked };
}

/** What is signed of the piece, by those who were certified for it: nobody else's word counts. */
function claimsOf(
  { swarmId, feedKey, files, pieceLengthBytes }: Task,
  piece: number,
  batches: readonly Uint8Array[],
  revoked: ReadonlySet<string>,
): Claims {
  const pieceCount = files.reduce(
    (sum, { sizeBytes }) => sum + Math.ceil(sizeBytes / pieceLengthBytes),
    0,
  );
  const log = new FeedLog({
    swarmId: Buffer.from(swarmId, 'hex'),
    feedKey: Buffer.from(feedKey, 'base64'),
    pieceCount,
  });
  log.revoke([...revoked].map((key) => Buffer.from(key, 'base64')));
  for (const batch of batches) log.accept(batch);
  return log.claimsOf(piece);
}
