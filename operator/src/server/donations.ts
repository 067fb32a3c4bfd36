/**
 * What of an epoch is on nodes and relays already, as bytes of other versions: who may look where,
 * who signs the hashes of it, and which pieces are therefore nobody's to pull. Who may give what to
 * whom is decided in policies/donors.ts. It has no time of its own and asks nobody but whom it is
 * given; what has changed it says.
 */
import type { Extent } from '@sluice/protocol/leaseMessages.ts';
import { type Donor, MAX_DONORS } from '@sluice/protocol/messages.ts';
import type { EpochRecord } from '../controllers/dataSide.ts';
import { type Gift, giftOf } from '../policies/donors.ts';
import { extentsOf, piecesOf } from '../quota/extents.ts';
import type { LeasedDistribution } from '../quota/leases.ts';
import type { FleetProcess } from './fleetView.ts';
import type { Agents, NodeBook } from './nodeBook.ts';

export interface DonationsDependencies {
  /** Undefined: it is not applied. */
  readonly book: (uid: string) => NodeBook | undefined;
  /** Whether the Origins let it take anything from its source. */
  readonly mayTake: (record: EpochRecord) => boolean;
  /** What is leased of this distribution is another part of it now. */
  readonly changed: (uid: string) => void;
  /** Another answer may come of a look at this distribution. */
  readonly lookAgain: (uid: string) => void;
}

/** A distribution, as it is looked at. */
export interface Seen {
  readonly book: NodeBook;
  /** Who takes part now. */
  readonly members: readonly { readonly process: FleetProcess }[];
  readonly agents: Agents;
  /** Some of what was signed of it is not so: the origin is to give that again. */
  readonly isDisputed: boolean;
}

/** What its processes are to be told. */
export interface Told {
  readonly donors: readonly Donor[];
  /** Ids of processes. */
  readonly signers: ReadonlySet<string>;
}

interface Match extends Gift {
  /** other: of another distribution; before: its own earlier epoch; own: this epoch, on other nodes. */
  readonly kind: 'other' | 'before' | 'own';
  readonly key: string;
  readonly donor: Donor;
  /** What the donor's relays pull is worth waiting for: one of both waits, and always the same. */
  readonly isOlder: boolean;
}

interface State {
  record: EpochRecord;
  /** Undefined: to be found again. */
  matches: readonly Match[] | undefined;
  /** The earlier epoch that they were found with. */
  earlier: EpochRecord | undefined;
  /** Told once they stay: a task that changes is told to every node again. */
  donors: readonly Donor[];
  /** By match. */
  readonly signers: Map<string, string>;
  /** Of its nodes that had it, at some time. */
  wasEnough: boolean;
  mark: number;
  movedAtMs: number;
  /** Nothing came of it: until then everything may be pulled. */
  givenUpUntilMs: number;
  isKeeping: boolean;
  leased: LeasedDistribution['donated'];
  leasedAs: string;
}

const NOBODY: Told = { donors: [], signers: new Set() };
const NOTHING_LEASED = '[[],[],[]]';
/** Agents and relays find a new leader within this. */
const RETURN_MS = 30_000;
/** So long nothing may move while pieces are kept back; copying begins within a second. */
const STILL_MS = 30_000;
/** What is read through before anything of it counts, at the rate of a slow disk, is waited for. */
const READ_BYTES_PER_MS = 100_000;
const GIVEN_UP_MS = 300_000;

export class Donations {
  readonly #deps: DonationsDependencies;
  readonly #states = new Map<string, State>();
  /** By digest, the uids of those that name it. */
  readonly #byDigest = new Map<string, readonly string[]>();
  #startedAtMs = Number.NEGATIVE_INFINITY;

  constructor(dependencies: DonationsDependencies) {
    this.#deps = dependencies;
  }

  /** This replica leads from now on. */
  start(nowMs: number): void {
    this.#startedAtMs = nowMs;
  }

  clear(): void {
    this.#states.clear();
    this.#byDigest.clear();
  }

  /** Its newest epoch. */
  set(record: EpochRecord, nowMs: number): void {
    const known = this.#states.get(record.uid);
    const isSameEpoch = known?.record.epoch === record.epoch;
    if (isSameEpoch && known.record.unproven === record.unproven) return;
    this.remove(record.uid);
    this.#states.set(record.uid, {
      matches: undefined,
      earlier: undefined,
      donors: isSameEpoch ? known.donors : [],
      signers: new Map(),
      wasEnough: false,
      mark: 0,
      movedAtMs: nowMs,
      givenUpUntilMs: Number.NEGATIVE_INFINITY,
      isKeeping: false,
      leased: undefined,
      leasedAs: NOTHING_LEASED,
      record,
    });
    for (const digest of digestsIn(record)) {
      this.#byDigest.set(digest, [...(this.#byDigest.get(digest) ?? []), record.uid]);
    }
    this.#findAgain(record);
  }

  remove(uid: string): void {
    const record = this.#states.get(uid)?.record;
    if (record === undefined) return;
    this.#states.delete(uid);
    for (const digest of digestsIn(record)) {
      const others = this.#byDigest.get(digest)?.filter((other) => other !== uid) ?? [];
      if (others.length > 0) this.#byDigest.set(digest, others);
      else this.#byDigest.delete(digest);
    }
    this.#findAgain(record);
  }

  /** What may be taken from sources has changed. */
  judgeAgain(): void {
    for (const state of this.#states.values()) state.matches = undefined;
  }

  /** Others that may give something to it, or take it: what becomes of one is news to all of them. */
  kinOf(uid: string): ReadonlySet<string> {
    const record = this.#states.get(uid)?.record;
    const kin = new Set(record && this.#namedIn(record));
    kin.delete(uid);
    return kin;
  }

  /** For the leases; undefined: everything is to be pulled. */
  leased(uid: string): LeasedDistribution['donated'] {
    return this.#states.get(uid)?.leased;
  }

  /** Whether time alone may bring another answer. */
  isWaiting(uid: string): boolean {
    return this.#states.get(uid)?.isKeeping === true;
  }

  look(uid: string, seen: Seen, nowMs: number): Told {
    const state = this.#states.get(uid);
    if (state === undefined) return NOBODY;
    const { book, members } = seen;
    const matches = this.#matchesOf(state, book);
    const giving: Match[] = [];
    let isStill = false;
    state.wasEnough ||= isEnough(book);
    if (book.isEverywhere) {
      // Who signs goes on: nodes that join later find everything named.
      const here = new Set(members.map(({ process }) => process.id));
      for (const [key, id] of state.signers) if (!here.has(id)) state.signers.delete(key);
    } else {
      for (const match of matches) {
        const holders = this.#holdersOf(match, seen);
        // What nodes have without a pull nobody has named.
        if (match.kind !== 'own' || book.plan.record.isRestored)
          chooseSigner(state, match, holders);
        if (holders.length > 0 || this.#isComing(state, match, seen, nowMs)) giving.push(match);
      }
      isStill = this.#isStill(state, seen, giving, nowMs);
    }
    state.isKeeping = giving.length > 0;
    this.#lease(uid, state, isStill ? [] : giving);
    return { donors: state.donors, signers: new Set(state.signers.values()) };
  }

  /** Who has all of what the match gives, and can give it: relays first, which have the links for it. */
  #holdersOf(match: Match, seen: Seen): FleetProcess[] {
    const processes = seen.members.map(({ process }) => process);
    const own = seen.book.plan.record;
    const relays = processes.filter(
      (process) =>
        process.kind === 'relay' &&
        match.kind !== 'own' &&
        stateAt(process, match.donor) === 'ready' &&
        // Its disk had no room for both, and it has let the older one go.
        stateAt(process, own) !== 'failed',
    );
    const agents = processes.filter(
      ({ kind, node }) =>
        kind === 'agent' &&
        this.#isOn(node, match, seen) &&
        seen.book.recordOf(node).state !== 'failed',
    );
    return this.#mayAgentsGive(match, seen) ? [...relays, ...agents] : relays;
  }

  #mayAgentsGive(match: Match, seen: Seen): boolean {
    const { plan } = seen.book;
    const isReady = (name: string) => seen.book.recordOf(name).state === 'ready';
    if (match.kind === 'own') {
      // What the origin has by then may be another version: a completed epoch is to last.
      const isAllowed = plan.record.completedAt !== undefined || isEnough(seen.book);
      return isAllowed && plan.delivery.transport !== 'HTTP' && !seen.isDisputed;
    }
    if (plan.delivery.transport !== 'HTTP') return true;
    // Nodes give nothing over HTTP: only what each of them has itself needs no pull.
    return plan.nodes.every(({ name }) => isReady(name) || this.#isOn(name, match, seen));
  }

  #isOn(node: string, { kind, donor }: Match, { book }: Seen): boolean {
    if (kind === 'before') return book.earlierOf(node)?.epoch === donor.epoch;
    const of = kind === 'own' ? book : this.#deps.book(donor.uid);
    return of?.plan.record.epoch === donor.epoch && of.recordOf(node).state === 'ready';
  }

  /** Nobody has it who could give it, and somebody will soon. */
  #isComing(state: State, match: Match, seen: Seen, nowMs: number): boolean {
    const { book, agents, members } = seen;
    // Its nodes look for the bytes first; who found none in that time will not find them later.
    const wasWaitedFor = state.wasEnough || state.givenUpUntilMs > Number.NEGATIVE_INFINITY;
    if (match.kind === 'own' && book.plan.record.isRestored && !wasWaitedFor) return true;
    const isYoung = nowMs - this.#startedAtMs < RETURN_MS;
    if (isYoung && this.#mayAgentsGive(match, seen)) {
      const isAway = (name: string) => agents.get(name) !== 'connected';
      if (book.plan.nodes.some(({ name }) => isAway(name) && this.#isOn(name, match, seen))) {
        return true;
      }
    }
    if (match.kind !== 'other' || !match.isOlder) return false;
    const donor = this.#deps.book(match.donor.uid)?.plan;
    if (donor === undefined || donor.suspend || donor.priority < book.plan.priority) return false;
    return members.some(({ process }) => isFilling(process, match.donor));
  }

  /** Nothing has moved for long though it could: what is kept back may never come. */
  #isStill(state: State, seen: Seen, giving: readonly Match[], nowMs: number): boolean {
    const { book, members } = seen;
    const waits = members.some(({ process: { kind, node } }) => {
      const at = book.recordOf(node).state;
      return kind === 'agent' && at !== 'ready' && at !== 'failed';
    });
    const mark = markOf(state, seen, giving);
    const isNew = giving.length === 0 || !state.isKeeping;
    if (mark !== state.mark || !waits || isNew) {
      state.mark = mark;
      state.movedAtMs = nowMs;
    }
    const read = giving.filter(({ isReadThrough }) => isReadThrough);
    const readBytes = Math.max(0, ...read.map(({ sizeBytes }) => sizeBytes));
    const patienceMs = STILL_MS + readBytes / READ_BYTES_PER_MS;
    if (nowMs - state.movedAtMs > patienceMs) state.givenUpUntilMs = nowMs + GIVEN_UP_MS;
    return nowMs < state.givenUpUntilMs;
  }

  #lease(uid: string, state: State, kept: readonly Match[]): void {
    const signed = (state.matches ?? []).filter(({ key }) => state.signers.has(key));
    const signers = [...new Set(state.signers.values())].sort();
    const as = JSON.stringify([keysOf(kept), keysOf(signed), signers]);
    if (as === state.leasedAs) return;
    state.leasedAs = as;
    const isNothing = kept.length === 0 && signers.length === 0;
    state.leased = isNothing
      ? undefined
      : { kept: piecesIn(kept), signed: piecesIn(signed), signers: new Set(signers) };
    this.#deps.changed(uid);
  }

  #matchesOf(state: State, { earlier }: NodeBook): readonly Match[] {
    if (state.matches !== undefined && state.earlier === earlier) return state.matches;
    const { record } = state;
    state.earlier = earlier;
    const gift = earlier && giftOf(earlier, record);
    state.matches = [
      ...ownMatch(record),
      ...(gift === undefined ? [] : [matchOf('before', earlier as EpochRecord, record, gift)]),
      ...this.#othersOf(record),
    ];
    for (const key of [...state.signers.keys()]) {
      if (!state.matches.some((match) => match.key === key)) state.signers.delete(key);
    }
    return state.matches;
  }

  /** Those that have most, and of these the oldest. */
  #othersOf(record: EpochRecord): Match[] {
    const uids = this.kinOf(record.uid);
    if (uids.size === 0 || !this.#deps.mayTake(record)) return [];
    return [...uids]
      .flatMap((uid) => {
        const donor = this.#states.get(uid)?.record;
        const gift = donor && giftOf(donor, record);
        return donor === undefined || gift === undefined
          ? []
          : [{ match: matchOf('other', donor, record, gift), donor }];
      })
      .sort((a, b) => b.match.sizeBytes - a.match.sizeBytes || order(a.donor, b.donor))
      .slice(0, MAX_DONORS)
      .map(({ match }) => match);
  }

  /** What of it others may have, or it of them, is to be found again. */
  #findAgain(record: EpochRecord): void {
    for (const uid of this.#namedIn(record)) {
      const state = this.#states.get(uid);
      if (state === undefined) continue;
      state.matches = undefined;
      this.#deps.lookAgain(uid);
    }
  }

  /** Distributions that name some of its files, by their digests. */
  #namedIn(record: EpochRecord): string[] {
    return digestsIn(record).flatMap((digest) => this.#byDigest.get(digest) ?? []);
  }
}

/** A few nodes are no source for many. */
function isEnough({ readyCount, plan }: NodeBook): boolean {
  return 2 * readyCount >= plan.nodes.length;
}

/** Nodes that have all of it give it to those that do not. */
function ownMatch(record: EpochRecord): Match[] {
  const { pieceCount, source } = record;
  if (pieceCount === 0) return [];
  const extents = [{ first: 0, count: pieceCount }];
  const gift = { extents, sizeBytes: source.sizeBytes, isReadThrough: false };
  return [matchOf('own', record, record, gift)];
}

function matchOf(
  kind: Match['kind'],
  from: EpochRecord,
  to: EpochRecord,
  { extents, sizeBytes, isReadThrough }: Gift,
): Match {
  const { namespace, uid, epoch } = from;
  const donor = { namespace, uid, epoch };
  const isOlder = order(from, to) < 0;
  return {
    kind,
    key: `${kind} ${uid}/${epoch}`,
    donor,
    isOlder,
    extents,
    sizeBytes,
    isReadThrough,
  };
}

function order(one: EpochRecord, other: EpochRecord): number {
  if (one.startedAt !== other.startedAt) return one.startedAt < other.startedAt ? -1 : 1;
  return one.uid === other.uid ? 0 : one.uid < other.uid ? -1 : 1;
}

function digestsIn({ files }: EpochRecord): string[] {
  const found = files.flatMap(({ sha256, sizeBytes }) =>
    sha256 === undefined || sizeBytes === 0 ? [] : [sha256],
  );
  return [...new Set(found)];
}

/** Who has begun goes on. One is enough: what it has named all others give, too. */
function chooseSigner(
  state: State,
  { key, kind, donor }: Match,
  holders: readonly FleetProcess[],
): void {
  const before = holders.find(({ id }) => id === state.signers.get(key));
  const signer = before ?? holders[0];
  if (signer === undefined) {
    state.signers.delete(key);
    return;
  }
  state.signers.set(key, signer.id);
  if (kind === 'other') tellOf(state, donor);
}

function tellOf(state: State, donor: Donor): void {
  const isTold = state.donors.some(({ uid, epoch }) => uid === donor.uid && epoch === donor.epoch);
  if (!isTold && state.donors.length < MAX_DONORS) state.donors = [...state.donors, donor];
}

function stateAt({ reports }: FleetProcess, { uid, epoch }: Pick<Donor, 'uid' | 'epoch'>) {
  return reports.get(uid, epoch)?.state;
}

/** It pulls the donor's bytes, or takes them from other relays. */
function isFilling(process: FleetProcess, donor: Donor): boolean {
  const state = stateAt(process, donor);
  return process.kind === 'relay' && (state === 'transferring' || state === 'verifying');
}

/** Another number: something has moved. */
function markOf({ record }: State, { book, members }: Seen, giving: readonly Match[]): number {
  let mark = book.verifiedBytes;
  for (const { process } of members) {
    if (process.kind !== 'relay') continue;
    for (const { uid, epoch } of [record, ...giving.map(({ donor }) => donor)]) {
      mark += process.reports.get(uid, epoch)?.verifiedBytes ?? 0;
    }
  }
  return mark;
}

function keysOf(matches: readonly Match[]): string[] {
  return matches.map(({ key }) => key);
}

function piecesIn(matches: readonly Match[]): Extent[] {
  return extentsOf(piecesOf(matches.flatMap(({ extents }) => extents)));
}
