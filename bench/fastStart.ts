/**
 * How soon a node has something while the relay still pulls: the first byte over HTTP, and the
 * first verified piece over BitTorrent, after the relay's first byte of the origin.
 *   node bench/fastStart.ts [--runs 5] [--only http,256,1024,4096]
 */
import { parseArgs } from 'node:util';
import { type FastStartRun, fastStartRun } from './lib/fastStartRun.ts';
import { type Figure, figureOf } from './lib/figures.ts';
import { PAYLOAD_SHARE } from './lib/fluidBound.ts';
import { ownArguments, runBenchmark } from './lib/namespaces.ts';
import { partName, record } from './lib/record.ts';
import { bytesPerSecond, type LinkRates, type Setup } from './lib/setups.ts';

const KIB = 1024;
const NODE_LINK: LinkRates = { down: 100, up: 100 };
const RELAY_LINK: LinkRates = { down: 200, up: 200 };
const PULL_RATES = [20, 100];
const NODE_COUNTS = [1, 4];
const PIECES_KIB = [256, 1024, 4096];
/** Enough for the pull to be under way when the first piece is there. */
const PIECES = 16;
/** At 20 Mbit/s more would take longer than all the rest. */
const WARM_UP_MIB = 32;
const HTTP_MS = 50;
const ALL = ['http', ...PIECES_KIB].join(',');

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: ALL },
  },
});

interface Case {
  readonly setup: Setup;
  readonly isHttp: boolean;
}

const CASES: readonly Case[] = values.only.split(',').flatMap((what) =>
  PULL_RATES.flatMap((origin) =>
    NODE_COUNTS.map((count): Case => {
      const isHttp = what === 'http';
      const pieceKib = isHttp ? KIB : Number(what);
      const setup: Setup = {
        name: `${isHttp ? 'HTTP, ' : ''}${pieceKib} KiB, ${origin} Mbit/s, nodes: ${count}`,
        about: 'the first bytes of a file',
        sizeMiB: (PIECES * pieceKib) / KIB,
        origin,
        relays: [RELAY_LINK],
        nodes: Array.from({ length: count }, () => NODE_LINK),
        pieceLengthBytes: pieceKib * KIB,
        warmUpMiB: WARM_UP_MIB,
        ...(isHttp && { delivery: { topUp: ['Relay'], transport: 'HTTP' } }),
      };
      return { setup, isHttp };
    }),
  ),
);

await runBenchmark(import.meta.filename, measure);

async function measure(signal: AbortSignal): Promise<boolean> {
  const runs: FastStartRun[] = [];
  for (let round = 1; round <= Number(values.runs); round += 1) {
    for (const { setup, isHttp } of CASES) {
      const run = await fastStartRun(setup, signal);
      runs.push(run);
      const bytes = worst(run.firstByteMs);
      const pieces = isHttp ? worst(run.firstPieceMs) : best(run.firstPieceMs);
      const bound = isHttp ? HTTP_MS : boundMs(setup, run);
      console.log(
        `${setup.name}, round ${round}: first byte ${bytes.toFixed(0)} ms, first piece ${pieces.toFixed(0)} ms, goal ${bound.toFixed(0)} ms`,
      );
    }
  }
  const args = ownArguments().join(' ');
  const figures = CASES.flatMap(({ setup, isHttp }) =>
    figuresOf(
      setup,
      isHttp,
      runs.filter((run) => run.setup === setup.name),
    ),
  );
  return record({
    name: partName('fastStart', values.only, ALL),
    command: `make bench NAME=fastStart${args === '' ? '' : ` ARGS='${args}'`}`,
    about: [
      `Relay and agent processes as in the images, which have delivered ${WARM_UP_MIB} MiB before;`,
      'origin, relay and nodes behind shaped links:',
      'relay 200 Mbit/s, nodes 100. From the first packet of payload that the relay gets from the',
      'origin until the last node has its first byte, or a node its first piece verified and written.',
      'Bytes by the time that the kernel gives a packet on the link; pieces by the record that a',
      'store writes after its bytes, looked for each millisecond. The time to first byte that the',
      'goal for HTTP adds is in what is measured, so it has to be under 50 ms alone.',
      'Goal for pieces: piece / pull rate + piece / node rate + 2 round trips, payload-corrected.',
    ].join(' '),
    runs,
    figures,
  });
}

function figuresOf(setup: Setup, isHttp: boolean, runs: readonly FastStartRun[]): Figure[] {
  const bytes = runs.map(({ firstByteMs }) => worst(firstByteMs));
  const pieces = runs.map(({ firstPieceMs }) => worst(firstPieceMs));
  if (isHttp) {
    return [
      figureOf(`${setup.name}: first byte`, 'ms', bytes, { atMost: HTTP_MS, judgedBy: 'median' }),
      figureOf(`${setup.name}: first piece`, 'ms', pieces),
    ];
  }
  const onFirst = runs.map(({ firstPieceMs }) => best(firstPieceMs));
  const over = runs.map((run, at) => (onFirst[at] as number) - boundMs(setup, run));
  return [
    figureOf(`${setup.name}: first piece on the first node`, 'ms', onFirst),
    figureOf(`${setup.name}: over the goal`, 'ms', over, { atMost: 0, judgedBy: 'median' }),
    // They share the relay's link, which the goal does not know.
    figureOf(`${setup.name}: first piece on the last node`, 'ms', pieces),
  ];
}

function boundMs({ origin, pieceLengthBytes = 0 }: Setup, { roundTripMs }: FastStartRun): number {
  const seconds = (megabits: number) => pieceLengthBytes / bytesPerSecond(megabits) / PAYLOAD_SHARE;
  return (seconds(origin) + seconds(NODE_LINK.down)) * 1000 + 2 * roundTripMs;
}

function best(byNode: Readonly<Record<string, number>>): number {
  return Math.min(...Object.values(byNode));
}

function worst(byNode: Readonly<Record<string, number>>): number {
  return Math.max(...Object.values(byNode));
}
