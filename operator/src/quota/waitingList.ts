/**
 * Who was told to wait, and has neither asked again since nor gone. PURE. What it has to say is
 * asked at every settlement, so nothing of it takes longer because many wait.
 */
import { claimId, type Want } from './claims.ts';

export interface Waiting {
  readonly holder: string;
  readonly uid: string;
  readonly epoch: number;
  readonly purpose: Want['purpose'];
  /** For its turn; otherwise for something about its distribution to change. */
  readonly isQueued: boolean;
  /** The period's traffic is used up. */
  readonly isExhausted: boolean;
}

/** Nobody is told to wait for longer than 15 s, and who asks tries for ten: then it has gone. */
const SILENT_MS = 25_000;

export class WaitingList {
  /** By claim; who has asked longest ago is first. */
  readonly #all = new Map<string, { readonly waiting: Waiting; readonly atMs: number }>();
  /** By distribution and claim. */
  readonly #byUid = new Map<string, Map<string, Waiting>>();

  set(waiting: Waiting, nowMs: number): void {
    const { holder, uid } = waiting;
    const id = claimId(holder, uid);
    this.delete(id);
    this.#all.set(id, { waiting, atMs: nowMs });
    const of = this.#byUid.get(uid);
    if (of === undefined) this.#byUid.set(uid, new Map([[id, waiting]]));
    else of.set(id, waiting);
  }

  get(id: string): Waiting | undefined {
    return this.#all.get(id)?.waiting;
  }

  delete(id: string): void {
    const uid = this.get(id)?.uid;
    if (uid === undefined) return;
    this.#all.delete(id);
    const of = this.#byUid.get(uid);
    of?.delete(id);
    if (of?.size === 0) this.#byUid.delete(uid);
  }

  clear(): void {
    this.#all.clear();
    this.#byUid.clear();
  }

  all(): Waiting[] {
    return [...this.#all.values()].map(({ waiting }) => waiting);
  }

  uids(): string[] {
    return [...this.#byUid.keys()];
  }

  of(uid: string): Waiting[] {
    return [...(this.#byUid.get(uid)?.values() ?? [])];
  }

  /** Those that wait no more, of which nobody has said so. */
  dropSilent(nowMs: number): Waiting[] {
    const silent: Waiting[] = [];
    for (const [id, { waiting, atMs }] of this.#all) {
      if (nowMs - atMs < SILENT_MS) break;
      silent.push(waiting);
      this.delete(id);
    }
    return silent;
  }
}
