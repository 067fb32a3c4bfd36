/** What the runs of bench/firstSlice.ts come to. PURE. */
import type { Delivery } from '../../e2e/demo/delivery.ts';
import { GOALS } from '../../e2e/demo/verdict.ts';
import { type Figure, figureOf } from './figures.ts';

export interface Run extends Delivery {
  /** Why its times say nothing. */
  readonly leftOut?: string;
}

/** Times are those of the runs that count; what is promised must hold in all of them. */
export function firstSliceFigures(runs: readonly Run[]): Figure[] {
  const counted = runs.filter(({ leftOut }) => leftOut === undefined);
  const inCounted = (value: (run: Run) => number) => counted.map(value);
  const inAll = (value: (run: Run) => number) => runs.map(value);
  const never = (atMost: number) => ({ atMost, judgedBy: 'everyRun' }) as const;
  return [
    figureOf(
      'time of the last node / fluid bound',
      'ratio',
      inCounted((run) => run.seconds / run.boundSeconds),
      { atMost: GOALS.timeRatio, judgedBy: 'median' },
    ),
    figureOf(
      'from kubectl apply to the last node',
      's',
      inCounted((run) => run.applySeconds),
    ),
    figureOf(
      "first byte on a node after a relay's",
      'ms',
      inCounted((run) => run.firstByteDelayMs),
    ),
    figureOf(
      'received from other nodes',
      '%',
      inCounted((run) => run.fromPeersShare * 100),
    ),
    figureOf(
      'processor in use',
      '%',
      inCounted((run) => run.cpuBusyShare * 100),
    ),
    figureOf(
      'bytes from the origin',
      'copies',
      inAll((run) => run.originBytes / run.sizeBytes),
      never(GOALS.copies),
    ),
    figureOf(
      'highest second at the origin / maxBandwidth',
      'ratio',
      inAll((run) => run.maxWindowBytes / run.limits.maxBandwidth),
      never(1),
    ),
    figureOf(
      'highest number of connections / maxConnections',
      'ratio',
      inAll((run) => run.peakConnections / run.limits.maxConnections),
      never(1),
    ),
    figureOf(
      'nodes with another SHA-256',
      'nodes',
      inAll((run) => run.wrongNodes.length),
      never(0),
    ),
  ];
}
