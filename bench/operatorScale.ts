/**
 * The operator at scale: the real process on a real kube-apiserver, etcd and database, and for each
 * node an agent that speaks the real control API and only counts its transfer.
 *   node bench/operatorScale.ts [--set-ups 100x1,1000x10,10000x100,100x1000,1000x10+labels] [--transfer 90] [--profile FOLDER]
 * NODESxDISTRIBUTIONS: the first goes to all nodes, the others to a hundred nodes each; with
 * `+labels` the first one labels its nodes.
 */
import { parseArgs } from 'node:util';
import { figureOf } from './lib/figures.ts';
import { ownArguments, runBenchmark } from './lib/namespaces.ts';
import { partName, record } from './lib/record.ts';
import { runScale, type ScaleRun } from './lib/scale/run.ts';

const ALL_SET_UPS = '100x1,1000x10,10000x100,100x1000,1000x10+labels';

const { values } = parseArgs({
  args: ownArguments(),
  options: {
    'set-ups': { type: 'string', default: ALL_SET_UPS },
    transfer: { type: 'string', default: '90' },
    profile: { type: 'string' },
  },
});

await runBenchmark(import.meta.filename, measure);

async function measure(signal: AbortSignal): Promise<boolean> {
  const runs: ScaleRun[] = [];
  for (const name of values['set-ups'].split(',')) {
    const [size = '', addition] = name.split('+');
    const [nodes = 0, distributions = 0] = size.split('x').map(Number);
    const labels = addition === 'labels';
    const transferMs = Number(values.transfer) * 1000;
    const run = await runScale(
      { nodes, distributions, transferMs, labels, profile: values.profile },
      signal,
    );
    console.log(JSON.stringify(run));
    runs.push(run);
  }
  const args = ownArguments().join(' ');
  return record({
    name: partName('operatorScale', values['set-ups'], ALL_SET_UPS),
    command: `make bench NAME=operatorScale${args === '' ? '' : ` ARGS='${args}'`}`,
    about: [
      'The operator as in its image, on kube-apiserver, etcd and FerretDB of the test cluster; nodes',
      'and pods are objects, whose status is told each five minutes as a kubelet does it, but for its',
      'Lease; agents speak the control API over TLS and only count their bytes, all on',
      `one machine. Transfers of ${values.transfer} s. Memory in MB of 10^6 bytes.`,
    ].join(' '),
    runs,
    figures: runs.flatMap(figuresOf),
  });
}

function figuresOf(run: ScaleRun) {
  const { nodes, distributions, labels } = run;
  const setUp = `${nodes} nodes, ${distributions} distributions${labels ? ', labels' : ''}`;
  const figure = (what: string, unit: string, value: number, atMost?: number) =>
    figureOf(
      `${setUp}: ${what}`,
      unit,
      [value],
      atMost === undefined ? undefined : { atMost, judgedBy: 'everyRun' },
    );
  const exact = (what: string, value: number, exactly: number) =>
    figureOf(`${setUp}: ${what}`, '', [value], { exactly, judgedBy: 'everyRun' });
  const isLarge = nodes >= 10_000;
  return [
    figure('processor in transfer', 'cores', run.transfer.cores, isLarge ? 0.5 : undefined),
    figure('processor from the first apply until all is delivered', 'cores', run.whole.cores),
    figure('processor when all is delivered', 'cores', run.settled.cores),
    figure('memory in transfer', 'MB', run.transfer.rssMb, isLarge ? 200 : undefined),
    figure('most memory', 'MB', run.peakRssMb),
    figure(
      'status writes a second and distribution',
      '1/s',
      run.transfer.statusWritesPerSecondAndDistribution,
      1,
    ),
    figure('status writes when all is delivered', '1/s', run.settled.statusWritesPerSecond),
    figure('apply to first task, worst', 's', run.firstTaskSeconds.worst, 3),
    figure('reconciliation, median below', 's', run.transfer.reconcileP50Seconds),
    figure('reconciliation, 99 of 100 below', 's', run.transfer.reconcileP99Seconds),
    figure('database', 'MB', run.databaseMb),
    exact('writes to nodes', run.nodeWrites, labels ? nodes : 0),
    exact('nodes with the label', run.labelledNodes, labels ? nodes : 0),
    ...(run.secondsUntilLabelled === undefined
      ? []
      : [figure('all delivered to all labelled', 's', run.secondsUntilLabelled)]),
  ];
}
