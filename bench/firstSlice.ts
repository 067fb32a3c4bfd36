/**
 * A file of 256 MiB to six nodes in two zones, over and over in one cluster: the time against the
 * fluid bound, and the origin's limits as its own meter saw them. A new file each run.
 *   node bench/firstSlice.ts [--runs 5]
 */
import { parseArgs } from 'node:util';
import { abortOnSignal, failWith } from '../e2e/cluster/command.ts';
import { type Delivery, deliver } from '../e2e/demo/delivery.ts';
import {
  bringUp,
  FILE_BYTES,
  LIMITS,
  LINK_BITS_PER_SECOND,
  NODES,
  type Setting,
  ZONES,
} from '../e2e/demo/setting.ts';
import { firstSliceFigures, type Run } from './lib/firstSliceFigures.ts';
import { record } from './lib/record.ts';

/** Above it the processor decides and not the links: such a run says nothing about Sluice. */
const MAX_CPU_SHARE = 0.8;

const { values } = parseArgs({ options: { runs: { type: 'string', default: '5' } } });
const wanted = Number(values.runs);
const signal = abortOnSignal();
let setting: Setting | undefined;
try {
  setting = await bringUp(console.log, signal);
  const runs: Run[] = [];
  const counted = () => runs.filter(({ leftOut }) => leftOut === undefined);
  for (let at = 1; counted().length < wanted && at <= 2 * wanted; at += 1) {
    const run = await runOnce(setting, at);
    const leftOut = run.cpuBusyShare > MAX_CPU_SHARE && { leftOut: 'the processor was the limit' };
    runs.push({ ...run, ...leftOut });
    console.log(
      `run ${at}: ${run.seconds.toFixed(1)} s, bound ${run.boundSeconds.toFixed(1)} s, processor ${(run.cpuBusyShare * 100).toFixed(0)} %${leftOut ? ', left out: the processor was the limit' : ''}`,
    );
  }
  const holds = await record({
    name: 'firstSlice',
    about: `${FILE_BYTES} bytes to ${NODES} nodes in ${ZONES} zones; links of ${LINK_BITS_PER_SECOND} bit/s each way; the origin's limits: ${LIMITS.maxConnections} connections, ${LIMITS.maxBandwidth} bytes in any second. All of it runs on the one machine.`,
    runs,
    figures: firstSliceFigures(runs),
  });
  if (!holds) process.exitCode = 1;
  if (counted().length < wanted) {
    console.error(
      `only ${counted().length} of ${wanted} runs count: the processor was busy otherwise`,
    );
    process.exitCode = 1;
  }
} catch (error) {
  failWith('bench', signal.aborted ? signal.reason : error);
} finally {
  await setting?.sluice.read.close();
  await setting?.cluster.stop();
}

async function runOnce({ cluster, sluice }: Setting, at: number): Promise<Delivery> {
  const name = `run-${at}`;
  const content = { sizeBytes: FILE_BYTES, seed: `${name} ${Date.now()}` };
  const file = await cluster.origin.putFile(`${name}.bin`, content);
  const linkRate = LINK_BITS_PER_SECOND / 8;
  const delivery = await deliver(sluice, { name, file, limits: LIMITS, linkRate, signal });
  // What was delivered would go on being served beside the next run.
  await sluice.remove(name);
  await cluster.origin.remove(file.name);
  return delivery;
}
