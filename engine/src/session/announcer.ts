import type { FeedLog } from '../feed/feedLog.ts';
import { Bitfield } from '../pieces/bitfield.ts';
import type { Layout } from '../pieces/layout.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import { NewsPace } from '../swarm/newsPace.ts';
import { Spread } from '../swarm/spread.ts';
import type { PeerRole } from '../wire/hello.ts';
import type { Connections } from './connections.ts';
import type { PeerConnection } from './peerConnection.ts';

export interface AnnouncerOptions {
  readonly role: PeerRole;
  readonly layout: Layout;
}

export interface AnnouncerDependencies {
  readonly clock: Clock;
  readonly feed: FeedLog;
  /** Pieces that are verified, on disk and announced, whatever became of them since. */
  readonly offered: Bitfield;
  readonly connections: Connections;
  /** Whether bytes come from the origin now. */
  readonly isPulling: () => boolean;
}

/** Between agents: each knows of more pieces of another's than it is owed until then. */
const AGENT_INTERVAL_MS = 200;
/** Of relays, and to relays: what these show to whom follows what agents tell them. */
const RELAY_INTERVAL_MS = 50;

/** Peers of one role, which are told together. */
interface Audience {
  readonly pace: NewsPace;
  timer: Timer | undefined;
}

/** Tells peers what we have: all of it, except that a relay shows agents piece by piece. */
export class Announcer {
  readonly #dependencies: AnnouncerDependencies;
  readonly #pieceCount: number;
  readonly #isSpreading: boolean;
  /** Of a relay. */
  readonly #spread: Spread;
  readonly #audiences: Readonly<Record<PeerRole, Audience>>;
  /** Pieces that are announced, in their order; to agents, of a relay, only when it shows them. */
  readonly #announced: number[] = [];
  readonly #shownToAll: number[] = [];
  #stopped = false;

  constructor({ role, layout }: AnnouncerOptions, dependencies: AnnouncerDependencies) {
    const { pieceCount, pieceLengthBytes } = layout;
    this.#dependencies = dependencies;
    this.#pieceCount = pieceCount;
    this.#isSpreading = role === 'relay';
    this.#spread = new Spread({ pieceCount, pieceLengthBytes });
    const toAgentsMs = this.#isSpreading ? RELAY_INTERVAL_MS : AGENT_INTERVAL_MS;
    this.#audiences = {
      relay: { pace: new NewsPace(RELAY_INTERVAL_MS), timer: undefined },
      agent: { pace: new NewsPace(toAgentsMs), timer: undefined },
    };
  }

  stop(): void {
    this.#stopped = true;
    for (const { timer } of Object.values(this.#audiences)) timer?.cancel();
  }

  /** A piece has just become ours. */
  announce(piece: number): void {
    if (this.#isSpreading) this.#spread.gained(piece, this.#dependencies.clock.now());
    this.#announced.push(piece);
    this.soon();
  }

  /** What was announced was not what it was taken for: when it is ours again it is announced again. */
  lost(piece: number): void {
    this.#spread.lost(piece);
  }

  /** The first thing that a peer hears of us. */
  opened(connection: PeerConnection): void {
    if (this.#isSpreadTo(connection)) this.#joined(connection);
    connection.announced = this.#announcedTo(connection).length;
    const shown = this.#shownTo(connection);
    if (shown.count === 0) connection.send({ type: 'haveNone' });
    else if (shown.full) connection.send({ type: 'haveAll' });
    else connection.send({ type: 'bitfield', bytes: shown.bytes });
  }

  closed(connection: PeerConnection): void {
    this.#spread.leave(connection.number);
  }

  /** A peer has told us of a piece. */
  peerHas(connection: PeerConnection, piece: number): void {
    if (!this.#isSpreading) return;
    const { connections, clock } = this.#dependencies;
    const agent = connections.acceptedFrom(connection.remotePeerId);
    if (agent === undefined) return;
    this.#spread.taken(agent.number, piece, clock.now());
    this.soon();
  }

  /** At once, when nothing was announced lately. */
  soon(): void {
    this.#soonTo('relay');
    this.#soonTo('agent');
  }

  /** Of a relay: what agents may be shown now. */
  show(nowMs: number): void {
    const before = this.#shownToAll.length;
    this.#showSome(nowMs);
    if (this.#shownToAll.length > before) this.#soonTo('agent');
  }

  /** Answers whether an agent was shown something that others are not. */
  #showSome(nowMs: number): boolean {
    if (this.#stopped || !this.#isSpreading) return false;
    const { connections, isPulling } = this.#dependencies;
    const { offers, toAll } = this.#spread.announcements(nowMs, isPulling());
    const news = new Map<number, number[]>();
    for (const { agent, piece } of offers) {
      const pieces = news.get(agent) ?? [];
      news.set(agent, pieces);
      pieces.push(piece);
    }
    for (const [agent, pieces] of news) connections.get(agent)?.sendHaves(pieces);
    this.#shownToAll.push(...toAll);
    return offers.length > 0;
  }

  #soonTo(role: PeerRole): void {
    const audience = this.#audiences[role];
    if (audience.timer !== undefined || this.#stopped) return;
    const { clock, offered } = this.#dependencies;
    const waitMs = audience.pace.waitMs(this.#pieceCount - offered.count, clock.now());
    if (waitMs <= 0) this.#announceTo(role);
    else audience.timer = clock.setTimer(waitMs, () => this.#announceTo(role));
  }

  #announceTo(role: PeerRole): void {
    const { clock, connections } = this.#dependencies;
    const audience = this.#audiences[role];
    const now = clock.now();
    audience.timer = undefined;
    let hasTold = role === 'agent' && this.#showSome(now);
    for (const connection of connections) {
      if (connection.remoteRole === role) hasTold = this.#announce(connection) || hasTold;
    }
    // What nobody was told of does not make the next piece wait.
    if (hasTold) audience.pace.told(now);
  }

  /** Answers whether there was anything to be told. */
  #announce(connection: PeerConnection): boolean {
    const from = connection.announced;
    const announced = this.#announcedTo(connection);
    if (from === announced.length || !this.#needsHaves(connection)) return false;
    connection.announced = announced.length;
    const news = announced.slice(from).filter((piece) => this.#isNews(piece, connection));
    connection.sendHaves(news);
    return news.length > 0;
  }

  #shownTo(connection: PeerConnection): Bitfield {
    const shown = new Bitfield(this.#pieceCount);
    if (!this.#needsHaves(connection)) return shown;
    const isSpreadTo = this.#isSpreadTo(connection);
    for (const piece of this.#dependencies.offered.pieces()) {
      if (!isSpreadTo || this.#spread.isForAll(piece)) shown.add(piece);
    }
    return shown;
  }

  /** An agent that is shown piece by piece what we have. */
  #joined(connection: PeerConnection): void {
    const { offered, feed, connections, clock } = this.#dependencies;
    const now = clock.now();
    this.#spread.join(connection.number);
    // What was on disk when we started was never announced.
    for (const piece of offered.pieces()) {
      if (feed.names(piece)) this.#spread.gained(piece, now);
    }
    const opened = connections.openedTo(connection.remotePeerId);
    for (const piece of opened?.remoteHas.pieces() ?? []) {
      this.#spread.taken(connection.number, piece, now);
    }
  }

  /** Who may ask us for pieces, and relays, which want to know what is spread already. */
  #needsHaves({ side, remoteRole, remotePeerId }: PeerConnection): boolean {
    if (side === 'acceptor') return true;
    // Over one connection of the two.
    const accepted = this.#dependencies.connections.acceptedFrom(remotePeerId);
    return remoteRole === 'relay' && accepted === undefined;
  }

  #announcedTo(connection: PeerConnection): readonly number[] {
    return this.#isSpreadTo(connection) ? this.#shownToAll : this.#announced;
  }

  /** Nobody is told of what it has. But relays count who has what they gave. */
  #isNews(piece: number, connection: PeerConnection): boolean {
    const { number, remoteRole, remoteHas, remotePeerId } = connection;
    if (remoteRole === 'relay' && !this.#isSpreading) return true;
    if (this.#spread.wasShown(number, piece) || remoteHas.has(piece)) return false;
    const opened = this.#dependencies.connections.openedTo(remotePeerId);
    return opened?.remoteHas.has(piece) !== true;
  }

  #isSpreadTo({ side, remoteRole }: PeerConnection): boolean {
    return this.#isSpreading && side === 'acceptor' && remoteRole === 'agent';
  }
}
