/**
 * A file to thousands of nodes that are simulated: real transfers on a virtual clock, every node
 * with the peers that the operator's tracker gives it. The last node against the fluid bound, and
 * what the simulation costs.
 *   node bench/largeSwarm.ts [--nodes 10000] [--relays 50] [--pieces 433] [--seed 1]
 *     [--down 100] [--up 100] [--origin 100] [--relay-up 1000]   Mbit/s
 */
import { parseArgs } from 'node:util';
import { SwarmWorld } from '@sluice/engine/sim/swarmWorld.ts';
import { neighbours } from '@sluice/operator/tracker/peers.ts';
import { failWith } from '../e2e/cluster/command.ts';
import { figureOf } from './lib/figures.ts';
import { fluidBound, PAYLOAD_SHARE } from './lib/fluidBound.ts';
import { record } from './lib/record.ts';
import { bytesPerSecond } from './lib/setups.ts';

const PIECE_BYTES = 262_144;
const GOAL = { ratio: 1.03, memoryGiB: 8 };
/** Blocks go out whole: fewer events, and the same links. */
const QUANTUM_BYTES = 132_096;
const MAX_BOUNDS = 20;
const TELL_EVERY_SECONDS = 1;
const GIB = 1024 ** 3;

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '10000' },
    relays: { type: 'string', default: '50' },
    pieces: { type: 'string', default: '433' },
    seed: { type: 'string', default: '1' },
    down: { type: 'string', default: '100' },
    up: { type: 'string', default: '100' },
    origin: { type: 'string', default: '100' },
    'relay-up': { type: 'string', default: '1000' },
    record: { type: 'boolean', default: false },
  },
});

try {
  process.exitCode = (await measure()) ? 0 : 1;
} catch (error) {
  failWith('bench', error);
}

async function measure(): Promise<boolean> {
  const pieceCount = Number(values.pieces);
  const rate = (megabits: string) => bytesPerSecond(Number(megabits)) * PAYLOAD_SHARE;
  const relays = Array.from({ length: Number(values.relays) }, () => ({
    upRate: rate(values['relay-up']),
    downRate: rate(values['relay-up']),
  }));
  const nodes = Array.from({ length: Number(values.nodes) }, () => ({
    upRate: rate(values.up),
    downRate: rate(values.down),
  }));
  const originRate = rate(values.origin);
  const sizeBytes = pieceCount * PIECE_BYTES;
  // Rates are of payload already.
  const bound =
    fluidBound({ sizeBytes, originRate, relayUpRates: relays.map(({ upRate }) => upRate), nodes })
      .seconds * PAYLOAD_SHARE;
  const world = new SwarmWorld({
    seed: Number(values.seed),
    pieceCount,
    pieceLengthBytes: PIECE_BYTES,
    originRate,
    relays,
    nodes,
    network: { quantumBytes: QUANTUM_BYTES },
    neighbours: (members) => {
      const lists = neighbours(members.map((each) => ({ ...each, domain: 'zone' })));
      return new Map([...lists].map(([id, peers]) => [id, peers.map((peer) => peer.id)]));
    },
  });
  const beganAtMs = performance.now();
  let peakBytes = 0;
  const look = () => {
    peakBytes = Math.max(peakBytes, process.memoryUsage().rss);
  };
  const seconds = () => (performance.now() - beganAtMs) / 1000;
  await world.begin();
  look();
  console.log(`${nodes.length} nodes began after ${seconds().toFixed(1)} s, ${gib(peakBytes)} GiB`);
  let isDone = false;
  for (let at = 0; !isDone && at < bound * MAX_BOUNDS; at += TELL_EVERY_SECONDS) {
    isDone = await world.run(TELL_EVERY_SECONDS);
    look();
    console.log(tell(world, seconds(), peakBytes));
  }
  if (!isDone) throw new Error(`not done after ${MAX_BOUNDS} times the bound: seed ${values.seed}`);
  const wall = seconds();
  const { user, system } = process.cpuUsage();
  const doneSeconds = world.nodes.map(({ doneAtMs }) => (doneAtMs ?? 0) / 1000);
  const last = Math.max(...doneSeconds);
  const received = world.nodes.reduce((sum, { host }) => sum + host.receivedBytes, 0);
  const figures = [
    figureOf('nodes', 'nodes', [nodes.length]),
    figureOf('fluid bound', 's', [bound]),
    figureOf('last node', 's', [last]),
    figureOf('last node / fluid bound', 'ratio', [last / bound], {
      atMost: GOAL.ratio,
      judgedBy: 'everyRun',
    }),
    figureOf(
      'nodes, over the bound',
      'ratio',
      doneSeconds.map((each) => each / bound),
    ),
    figureOf('copies from the origin', 'copies', [world.originCopies], {
      atMost: 1.02,
      judgedBy: 'everyRun',
    }),
    figureOf('bytes on the links of nodes / bytes of their files', 'ratio', [
      received / (sizeBytes * nodes.length),
    ]),
    figureOf('memory', 'GiB', [peakBytes / GIB], { atMost: GOAL.memoryGiB, judgedBy: 'everyRun' }),
    figureOf('processor time', 's', [(user + system) / 1e6]),
    figureOf('time that it took', 's', [wall]),
  ];
  if (!values.record) {
    for (const { name, median, unit } of figures) console.log(`${name}: ${median} ${unit}`);
    return true;
  }
  return record({
    name: 'largeSwarm',
    about: `${nodes.length} simulated nodes with ${values.down}/${values.up} Mbit/s down/up and ${relays.length} relays with ${values['relay-up']}, an origin with ${values.origin}; ${pieceCount} pieces of 256 KiB.`,
    runs: [],
    figures,
  });
}

function tell(world: SwarmWorld, seconds: number, bytes: number): string {
  const { pieceCount } = world.file.layout;
  const counts = world.nodes.map(({ store }) => store.keptCount).sort((a, b) => a - b);
  const at = (share: number) => counts[Math.floor(share * (counts.length - 1))];
  const relays = world.relays.map(({ store }) => store.keptCount);
  return [
    `${(world.clock.now() / 1000).toFixed(0)} s:`,
    `pieces of ${pieceCount} at least ${at(0)}, half ${at(0.5)}, at most ${at(1)};`,
    `relays ${Math.min(...relays)} to ${Math.max(...relays)};`,
    `origin ${world.originCopies.toFixed(3)} copies;`,
    `took ${seconds.toFixed(0)} s, ${gib(bytes)} GiB`,
  ].join(' ');
}

function gib(bytes: number): string {
  return (bytes / GIB).toFixed(2);
}
