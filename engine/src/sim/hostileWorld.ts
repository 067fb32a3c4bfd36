import { PieceMemory } from '../session/pieceMemory.ts';
import { encode, PIECE_HEADER_BYTES } from '../wire/codec.ts';
import { mutate } from './mutation.ts';
import { wrongIn } from './randomWorld.ts';
import { SeededRandom } from './seededRandom.ts';
import { BITTORRENT_PORT, type SimulatedPeer, SwarmWorld } from './swarmWorld.ts';

const MBIT_BYTES = 125_000;
const PIECE_BYTES = 262_144;
/** Every honest node is done by then, whatever the hostile ones do; without them it takes 5 s. */
const MAX_SECONDS = 300;

/** Of what a hostile node says, spoiled. */
const SHARES = [0.002, 0.02, 0.2, 1];
const PAYLOAD_BYTES = 16_384;
/** Small: few pieces are lent at once. */
const DEAF_MEMORY_BYTES = 12 * 1024 * 1024;
/** Ids of BEP 3 and BEP 6, behind the length of a message. */
const [BITFIELD, PIECE, HAVE_NONE] = [5, 7, 15];

type Spoiler = (bytes: Uint8Array, random: SeededRandom) => Uint8Array;

const SPOILERS: readonly Spoiler[] = [
  mutate,
  swallow,
  wrongPayload,
  (bytes, random) => (random.below(2) === 0 ? mutate : swallow)(bytes, random),
];

export interface HostileVerdict {
  readonly problems: readonly string[];
  /** When the last honest node was done. */
  readonly seconds: number;
  /** Messages, or parts of them, that came to honest peers with mistakes. */
  readonly spoiled: number;
  /** Why honest peers closed connections, to honest and hostile ones. */
  readonly closed: ReadonlyMap<string, number>;
}

export interface HostileOptions {
  /** Instead of spoiling some of what they say they have everything, and give nothing of it. */
  readonly refuses?: boolean;
}

/**
 * A swarm of which some nodes know its secret, speak its protocol, and spoil part of what they say,
 * from the handshake on: the others must have the right file in time, and all that they close they
 * close for a reason.
 */
export async function tryHostileWorld(
  seed: number,
  { refuses = false }: HostileOptions = {},
): Promise<HostileVerdict> {
  const random = new SeededRandom(seed);
  const link = { upRate: 200 * MBIT_BYTES, downRate: 200 * MBIT_BYTES };
  const world = new SwarmWorld({
    seed,
    pieceCount: 16 + random.below(48),
    pieceLengthBytes: PIECE_BYTES,
    originRate: (20 + random.below(80)) * MBIT_BYTES,
    relays: [link],
    nodes: Array.from({ length: 3 + random.below(4) }, () => link),
  });
  const hostile = world.nodes.slice(0, 1 + random.below(2));
  const names = new Set(hostile.map(({ name }) => name));
  const share = refuses ? 1 : random.pick(SHARES);
  const spoil = refuses ? refuse : random.pick(SPOILERS);
  let spoiledCount = 0;
  world.tamper((from, bytes) => {
    if (!names.has(from) || random.next() >= share) return bytes;
    const spoiled = spoil(bytes, random);
    if (spoiled !== bytes) spoiledCount += 1;
    return spoiled;
  });
  await world.begin();
  const honest = world.nodes.filter(({ name }) => !names.has(name));
  const isDone = await world.run(MAX_SECONDS, honest);
  const all = [...world.relays, ...honest];
  const closed = closedBy(all.map(({ engine }) => engine));
  const problems = wrongIn(world).filter((problem) => !isOf(hostile, problem));
  if (!isDone) problems.push(`honest nodes are not done after ${MAX_SECONDS} s`);
  if (closed.has('InternalError')) problems.push('a message led to an error of ours');
  await world.stop();
  const seconds =
    Math.max(...honest.map(({ doneAtMs = Number.POSITIVE_INFINITY }) => doneAtMs)) / 1000;
  return { problems, seconds, spoiled: spoiledCount, closed };
}

/**
 * A swarm with members that ask everybody for much, read nothing and say that they live: the others
 * must have the right file as soon as without them.
 */
export async function tryDeafWorld(seed: number, deafCount: number): Promise<HostileVerdict> {
  const link = { upRate: 200 * MBIT_BYTES, downRate: 200 * MBIT_BYTES };
  const world = new SwarmWorld({
    seed,
    pieceCount: 64,
    pieceLengthBytes: PIECE_BYTES,
    originRate: 20 * MBIT_BYTES,
    relays: [link],
    nodes: [link, link, link, link],
    // By BitTorrent alone.
    topUp: { sources: [], isCarried: false },
    memory: () => new PieceMemory(DEAF_MEMORY_BYTES),
  });
  const names = Array.from({ length: deafCount }, (_, at) => `deaf${at + 1}`);
  const deaf = names.map((name) => world.deafMember(name, link));
  await world.begin();
  const all = [...world.relays, ...world.nodes];
  for (const member of deaf) for (const { name } of all) member.connect(name, BITTORRENT_PORT);
  await world.pass(3);
  world.network.cut((_from, to) => names.includes(to.name));
  for (const member of deaf) member.ask();
  const isDone = await world.run(MAX_SECONDS);
  const seconds = world.clock.now() / 1000;
  // Until they are left.
  await world.pass(40);
  const problems = wrongIn(world);
  if (!isDone) problems.push(`nodes are not done after ${MAX_SECONDS} s`);
  const closed = closedBy(all.map(({ engine }) => engine));
  await world.stop();
  return { problems, seconds, spoiled: 0, closed };
}

function isOf(peers: readonly SimulatedPeer[], problem: string): boolean {
  return peers.some(({ name }) => problem.startsWith(`${name}:`));
}

/** Of these hosts. */
export function closedBy(
  hosts: readonly { readonly closedConnections: ReadonlyMap<string, number> }[],
): Map<string, number> {
  const closed = new Map<string, number>();
  for (const { closedConnections } of hosts) {
    for (const [reason, count] of closedConnections) {
      closed.set(reason, (closed.get(reason) ?? 0) + count);
    }
  }
  return closed;
}

/** Promised, and never sent. */
function swallow(): Uint8Array {
  return new Uint8Array(0);
}

/** Every message is right, only the bytes of blocks are not. */
function wrongPayload(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  if (bytes.byteLength < PAYLOAD_BYTES) return bytes;
  const wrong = Buffer.from(bytes);
  const at = random.below(wrong.length);
  wrong[at] = (wrong[at] as number) ^ 1;
  return wrong;
}

/** It has all, whatever it has, and sends a reject for every block. */
function refuse(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength >= PAYLOAD_BYTES) return swallow();
  const message = Buffer.from(bytes);
  const id = message[4];
  if (id === PIECE && message.length === PIECE_HEADER_BYTES) {
    const length = message.readUInt32BE() - (PIECE_HEADER_BYTES - 4);
    const [piece, offset] = [message.readUInt32BE(5), message.readUInt32BE(9)];
    return encode({ type: 'reject', piece, offset, length });
  }
  const isField =
    id === HAVE_NONE ? message.length === 5 : message.length === message.readUInt32BE() + 4;
  return (id === HAVE_NONE || id === BITFIELD) && isField ? encode({ type: 'haveAll' }) : bytes;
}
