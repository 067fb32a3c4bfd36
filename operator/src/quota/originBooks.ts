/**
 * The journals of all hosts at their leader, and which of them share limits. A host, or a region of
 * it that Origins tell apart, keeps its own journal whatever Origin covers it: when Origins are
 * deleted, made anew or changed, what is open and what was taken in the period stay counted under
 * whoever covers any part of it now.
 *
 * The sum over the journals of an Origin is within its limits because one leader decides for all
 * of them from what is under way, and only facts (a settle, an expiry, an acknowledgement) make
 * room: in whatever order those become durable, they are true.
 */
import type { Clock, Timer } from '@sluice/engine/ports/clock.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import type { OriginPolicy } from '../controllers/dataSide.ts';
import type { SnapshotEvery } from './compaction.ts';
import {
  coveringPolicy,
  hostOf,
  policiesOver,
  regionName,
  regionNamed,
  regionOf,
} from './coverage.ts';
import { CLOCK_DRIFT, grantableShare } from './drift.ts';
import type { JournalStore } from './journal.ts';
import { LEADERS, Leaders } from './leaders.ts';
import { LeaseError } from './leases.ts';
import { type LeaseRecord, NOTHING, type Usage, usageOf } from './ledger.ts';
import { isSameLimits, type Limits, strictest } from './limits.ts';
import { type LimitsInForce, limitsInForce } from './limitsInForce.ts';
import type { JournalMark, JournalTrouble, OriginJournals } from './marks.ts';
import { OriginBook } from './originBook.ts';
import type { RecentPeak } from './recentUse.ts';

export interface OriginBooksOptions {
  readonly defaultLimits: {
    readonly maxConnections: number;
    readonly maxBandwidthBytesPerSecond: number;
  };
  /** Serve only what an Origin covers. */
  readonly requireOrigin: boolean;
  /** How far clocks are off true time at most, as a share; absent: 0.001, as holders take it. */
  readonly clockDrift?: number | undefined;
  /** How long journals grow before a snapshot is taken; absent: as compaction.ts says. */
  readonly snapshotEvery?: SnapshotEvery | undefined;
}

export interface OriginBooksDependencies {
  readonly store: JournalStore;
  readonly clock: Clock;
  /** Milliseconds since the Unix epoch. */
  readonly wallClock: () => number;
  /** Another replica leads: this one must stop to. */
  readonly onLost: (error: Error) => void;
  /** The journal of one host cannot be read: nothing is granted there, and a person has to look. */
  readonly onBroken: (error: Error) => void;
  readonly onRetry: (error: unknown) => void;
  /** A journal was read and fenced: its leases are known. */
  readonly onOpen: (book: OriginBook) => void;
  readonly provenBytes: (leaseId: string) => number;
  readonly onExpired: (lease: LeaseRecord) => void;
  readonly onGone: (lease: LeaseRecord, usedBytes: number | undefined) => void;
  readonly onCommitted: (ms: number) => void;
  readonly onFreed: (book: OriginBook) => void;
  /** Other limits hold there. */
  readonly onLimits: (book: OriginBook) => void;
  /** The mark of one of this Origin's journals is to be moved soon. */
  readonly onShort: (originName: string) => void;
}

/** What the Origins' status says now, by host. */
export type LoadMarks = (signal: AbortSignal) => Promise<ReadonlyMap<string, JournalMark>>;

interface Leadership {
  readonly term: number;
  readonly nonce: string;
  readonly leaders: Leaders;
  readonly abort: AbortController;
  /** Undefined: no marks are kept, as in a benchmark without Kubernetes. */
  readonly marks: Promise<ReadonlyMap<string, JournalMark>> | undefined;
}

/** Hosts under common limits. */
export interface HostGroup {
  /** `origin:<name>`, or `host:<host>` where no Origin covers it. */
  readonly key: string;
  readonly limits: Limits;
  readonly books: readonly OriginBook[];
}

/** How late a schedule may raise limits; it lowers them ahead of time. */
const LOOK_MS = 1_000;
const RETRY_MS = 500;
/** Codes of errors that trying again does not mend. */
const TROUBLES: readonly JournalTrouble['reason'][] = ['JournalBroken', 'NewerSchema'];

export class OriginBooks {
  readonly #options: OriginBooksOptions;
  readonly #dependencies: OriginBooksDependencies;
  readonly #books = new Map<string, OriginBook>();
  /** Undefined until they are known: nothing is granted by mistake under limits of nobody. */
  #policies: readonly OriginPolicy[] | undefined;
  #leadership: Leadership | undefined;
  #isListed = false;
  /** By name of the journal: which Origins have a part of its region. */
  readonly #over = new Map<string, readonly (OriginPolicy | undefined)[]>();
  /** By name of the journal; that of the leaders concerns all. */
  readonly #troubles = new Map<string, JournalTrouble>();
  /** By name of the Origin. */
  readonly #inForce = new Map<string, LimitsInForce>();
  #timer: Timer | undefined;

  constructor(options: OriginBooksOptions, dependencies: OriginBooksDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
  }

  get isLeading(): boolean {
    return this.#leadership !== undefined;
  }

  setOrigins(policies: readonly OriginPolicy[]): void {
    this.#policies = policies;
    this.#inForce.clear();
    this.#over.clear();
    this.#refresh();
  }

  /** When the limits that hold now change by themselves; milliseconds since the Unix epoch. */
  limitsChangeAt(originName: string): number | undefined {
    const untilMs = this.#inForce.get(originName)?.untilMs;
    return untilMs === Number.POSITIVE_INFINITY ? undefined : untilMs;
  }

  /**
   * Fences the journals of all hosts that there ever were, by the database or by their marks, and of
   * each new one as it comes.
   */
  lead(term: number, nonce: string, loadMarks: LoadMarks | undefined): void {
    const abort = new AbortController();
    const { signal } = abort;
    const { snapshotEvery } = this.#options;
    const leaders = new Leaders({ term, nonce, snapshotEvery }, this.#dependenciesUnder(abort));
    const marks = loadMarks && this.#untilDone(() => loadMarks(signal), signal);
    marks?.catch(() => {});
    const leadership = { term, nonce, leaders, abort, marks };
    this.#leadership = leadership;
    this.#refresh();
    const hosts = this.#untilDone(() => leaders.open(signal), signal).then(() =>
      this.#untilDone(() => this.#dependencies.store.origins(signal), signal),
    );
    Promise.all([hosts, marks]).then(
      ([found, marked]) => {
        this.#isListed = true;
        for (const host of [...found, ...(marked?.keys() ?? [])]) {
          if (host !== LEADERS) this.#open(host, leadership);
        }
      },
      (error) => this.#failed(LEADERS, error, abort.signal),
    );
  }

  /** What a journal tells of a leader that leads no more is no news. */
  #dependenciesUnder({ signal }: AbortController) {
    const { onLost } = this.#dependencies;
    return {
      ...this.#dependencies,
      onLost: (error: Error) => {
        if (!signal.aborted) onLost(error);
      },
    };
  }

  /** A journal that cannot be read: what needs it is granted nothing, the others go on. */
  #failed(name: string, error: Error, signal: AbortSignal): void {
    const { onBroken, onLost } = this.#dependencies;
    if (signal.aborted) return;
    const reason = troubleIn(error);
    if (reason === undefined) {
      onLost(error);
      return;
    }
    this.#troubles.set(name, { reason, message: error.message });
    onBroken(error);
  }

  stepDown(): void {
    this.#leadership?.abort.abort(new LeaseError('NotLeading', 'this replica leads no more'));
    this.#leadership?.leaders.close();
    this.#leadership = undefined;
    this.#isListed = false;
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const book of this.#books.values()) book.close();
    this.#books.clear();
    this.#troubles.clear();
  }

  all(): IterableIterator<OriginBook> {
    return this.#books.values();
  }

  /** Fences the journal of this URL now, not when the first puller waits for it. */
  prepare(url: string): void {
    if (this.#leadership === undefined || this.#policies === undefined) return;
    this.#open(regionName(regionOf(url, this.#policies)), this.#leadership);
  }

  /**
   * The journal of this URL; undefined while not all that counts is known. Throws when nobody may
   * ask there.
   */
  bookFor(url: string): OriginBook | undefined {
    const policies = this.#policies;
    if (policies === undefined || this.#leadership === undefined) return undefined;
    if (this.#options.requireOrigin && coveringPolicy(url, policies) === undefined) {
      const message = `no Origin covers ${hostOf(url)}, and the operator serves only what one covers`;
      throw new LeaseError('OriginRequired', message);
    }
    const book = this.#open(regionName(regionOf(url, policies)), this.#leadership);
    return this.isWhole(book) ? book : undefined;
  }

  /** Whether everything is known that counts under the limits of this one. */
  isWhole(book: OriginBook): boolean {
    return this.#isListed && this.groupOf(book).books.every(({ isOpen }) => isOpen);
  }

  /** Where this URL is counted now, if anything was ever asked there. */
  known(url: string): OriginBook | undefined {
    return this.#books.get(regionName(regionOf(url, this.#policies ?? [])));
  }

  /** Of a region that is divided now: one of those that have a part of it. */
  groupOf({ host }: OriginBook): HostGroup {
    const policy = this.#policiesOver(host)[0];
    return this.#groupUnder(policy, host);
  }

  #groupUnder(policy: OriginPolicy | undefined, name: string): HostGroup {
    const key = keyOf(policy, name);
    const books = [...this.#books.values()].filter(({ host }) =>
      this.#policiesOver(host).some((each) => keyOf(each, host) === key),
    );
    return { key, limits: this.#limitsUnder(policy), books };
  }

  originNames(): string[] {
    return (this.#policies ?? []).map(({ name }) => name);
  }

  /** All that this Origin covers and was ever asked; undefined while not all is known. */
  groupNamed(originName: string): HostGroup | undefined {
    const policy = this.#policies?.find(({ name }) => name === originName);
    if (policy === undefined || !this.#isListed) return undefined;
    const group = this.#groupUnder(policy, '');
    return group.books.every(({ isOpen }) => isOpen) ? group : undefined;
  }

  /** Undefined while it is not known which journals there are. */
  journalsOf(originName: string): OriginJournals | undefined {
    if (this.#leadership?.marks === undefined) return undefined;
    const common = this.#troubles.get(LEADERS);
    if (!this.#isListed) return common && { marks: undefined, behind: [], trouble: common };
    const books = [...this.#books.values()].filter(({ host }) =>
      this.#policiesOver(host).some((policy) => policy?.name === originName),
    );
    return {
      marks: books.flatMap((book) => book.nextMark() ?? []),
      behind: books.flatMap(({ host, behindUntilMs: untilMs }) =>
        untilMs === undefined ? [] : { host, untilMs },
      ),
      trouble: books.map(({ host }) => this.#troubles.get(host)).find((each) => each),
    };
  }

  /** The Origin's status says so now. */
  marked(marks: readonly JournalMark[]): void {
    for (const mark of marks) this.#books.get(mark.host)?.marked(mark);
  }

  /** All journals that there are have been read: a lease that is in none of them is over. */
  get isComplete(): boolean {
    return this.#isListed && [...this.#books.values()].every(({ isOpen }) => isOpen);
  }

  /** Not all journals have been read that this leader can read. */
  get isReading(): boolean {
    if (!this.#isListed) return !this.#troubles.has(LEADERS);
    return [...this.#books.values()].some(
      ({ host, isOpen }) => !isOpen && !this.#troubles.has(host),
    );
  }

  /**
   * Resolves when all that the ledgers say is durable, and nobody has led since. Rejects when not
   * all is known, or somebody has. `readable`: what is in a journal that cannot be read does not
   * matter. Nothing is granted there, and whoever reads it charges its leases whole.
   */
  async certain(of: 'all' | 'readable'): Promise<void> {
    const leadership = this.#leadership;
    const isKnown = of === 'all' ? this.isComplete : this.#isListed && !this.isReading;
    if (leadership === undefined || !isKnown) {
      throw new LeaseError('NotReady', 'not all journals are read yet');
    }
    const { leaders, abort } = leadership;
    const flushed = [...this.#books.values()].map((book) => book.flushed());
    await Promise.all([...flushed, leaders.confirm(abort.signal)]);
  }

  find(leaseId: string): { book: OriginBook; lease: LeaseRecord } | undefined {
    for (const book of this.#books.values()) {
      const lease = book.ledger.leases.get(leaseId);
      if (lease !== undefined) return { book, lease };
    }
    return undefined;
  }

  /** Those that count the journal of this name. */
  #policiesOver(name: string): readonly (OriginPolicy | undefined)[] {
    let over = this.#over.get(name);
    if (over === undefined) {
      over = policiesOver(regionNamed(name), this.#policies ?? []);
      this.#over.set(name, over);
    }
    return over;
  }

  /** Nothing is granted any more where several hold: what is open there counts as the strictest. */
  #limitsOf(name: string): Limits {
    const all = this.#policiesOver(name).map((policy) => this.#limitsUnder(policy));
    const [first] = all;
    return all.length === 1 && first !== undefined ? first : strictest(all);
  }

  #limitsUnder(policy: OriginPolicy | undefined): Limits {
    const { defaultLimits, clockDrift = CLOCK_DRIFT } = this.#options;
    const nowMs = this.#dependencies.wallClock();
    const key = policy?.name ?? '';
    const known = this.#inForce.get(key);
    if (known !== undefined && nowMs >= known.sinceMs && nowMs < known.untilMs) return known.limits;
    const made = limitsInForce(defaultLimits, policy, nowMs);
    const grantable = made.limits.bandwidthBytesPerSecond * grantableShare(clockDrift);
    const limits = { ...made.limits, bandwidthBytesPerSecond: grantable };
    this.#inForce.set(key, { ...made, limits });
    return limits;
  }

  /** Schedules change limits by the wall clock, which may be set: looked at again and again. */
  #refresh(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const book of this.#books.values()) {
      const before = book.limits;
      book.limits = this.#limitsOf(book.host);
      book.isMarked = this.#isMarked(book.host);
      if (!isSameLimits(book.limits, before)) this.#dependencies.onLimits(book);
    }
    const isScheduled = this.#policies?.some(({ schedule = [] }) => schedule.length > 0);
    if (this.#leadership === undefined || !isScheduled) return;
    this.#timer = this.#dependencies.clock.setTimer(LOOK_MS, () => this.#refresh());
  }

  #short(host: string): void {
    const policy = this.#policiesOver(host).find((each) => each !== undefined);
    if (policy !== undefined) this.#dependencies.onShort(policy.name);
  }

  #isMarked(host: string): boolean {
    if (this.#leadership?.marks === undefined) return false;
    return this.#policiesOver(host).some((policy) => policy !== undefined);
  }

  #open(host: string, { term, nonce, leaders, abort, marks }: Leadership): OriginBook {
    const known = this.#books.get(host);
    if (known !== undefined) return known;
    const { signal } = abort;
    const { clockDrift, snapshotEvery } = this.#options;
    const book = new OriginBook(
      { host, term, nonce, limits: this.#limitsOf(host), clockDrift, snapshotEvery },
      {
        ...this.#dependenciesUnder(abort),
        confirm: () => leaders.confirm(signal),
        onShort: () => this.#short(host),
      },
    );
    book.isMarked = this.#isMarked(host);
    this.#books.set(host, book);
    const open = async () => book.open((await marks)?.get(host), signal);
    this.#untilDone(open, signal).catch((error) => this.#failed(host, error, signal));
    return book;
  }

  /** Tried until the database answers. */
  async #untilDone<T>(act: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await act();
      } catch (error) {
        if (signal.aborted || troubleIn(error) !== undefined) throw error;
        this.#dependencies.onRetry(error);
        await sleep(this.#dependencies.clock, RETRY_MS, signal);
      }
    }
  }
}

function troubleIn(error: unknown): JournalTrouble['reason'] | undefined {
  const { code } = error as { code?: unknown };
  return TROUBLES.find((reason) => reason === code);
}

/** What counts now over all of them; `except` leaves one lease out. */
export function groupUsage(books: readonly OriginBook[], except?: string): Usage {
  const sum: { -readonly [Part in keyof Usage]: number } = { ...NOTHING };
  for (const { ledger } of books) {
    const usage = usageOf(ledger, except);
    sum.connections += usage.connections;
    sum.rateBytesPerSecond += usage.rateBytesPerSecond;
    sum.slackBytes += usage.slackBytes;
    sum.windowBytes += usage.windowBytes;
    sum.trafficBytes += usage.trafficBytes;
  }
  return sum;
}

/** The most that counted over all of them within the last second; never less than at one time. */
export function groupRecent(books: readonly OriginBook[]): RecentPeak {
  const sum = { slackBytes: 0, windowBytes: 0 };
  for (const book of books) {
    const { slackBytes, windowBytes } = book.recent;
    sum.slackBytes += slackBytes;
    sum.windowBytes += windowBytes;
  }
  return sum;
}

/** More is leased than the limits allow: they were lowered a moment ago. */
export function isOver({ limits, books }: HostGroup): boolean {
  const { connections, windowBytes } = groupUsage(books);
  return connections > limits.connections || windowBytes > limits.bandwidthBytesPerSecond;
}

function keyOf(policy: OriginPolicy | undefined, name: string): string {
  return policy === undefined ? `host:${regionNamed(name).host}` : `origin:${policy.name}`;
}
