/**
 * `make demo`: a cluster of six nodes in two zones, Sluice installed, and one file brought to all of
 * them within the origin's limits. Exits non-zero when anything is not as promised.
 */
import { abortOnSignal, failWith } from '../cluster/command.ts';
import { deliver } from './delivery.ts';
import { Screen } from './screen.ts';
import {
  bringUp,
  FILE_BYTES,
  LIMITS,
  LINK_BITS_PER_SECOND,
  MIB,
  NODES,
  type Setting,
  ZONES,
} from './setting.ts';
import { mebibytes, renderTable, verdictOf } from './verdict.ts';

const signal = abortOnSignal();
const screen = new Screen(process.stdout);
let setting: Setting | undefined;
signal.addEventListener('abort', () => screen.line('\ndemo: ending what was started'));
try {
  screen.line(`${NODES} nodes in ${ZONES} zones, links of ${LINK_BITS_PER_SECOND / 1e6} Mbit/s`);
  setting = await bringUp((line) => screen.line(line), signal);
  const { cluster, sluice } = setting;
  const file = await cluster.origin.putFile('model.bin', {
    sizeBytes: FILE_BYTES,
    seed: Date.now(),
  });
  screen.line(`
The origin has model.bin, ${FILE_BYTES / MIB} MiB, and allows ${LIMITS.maxConnections} connections, \
${mebibytes(LIMITS.maxBandwidth)} in any second, ${mebibytes(LIMITS.maxTraffic.bytes)} in ${LIMITS.maxTraffic.period}.
`);
  const delivery = await deliver(sluice, {
    name: 'model',
    file,
    limits: LIMITS,
    linkRate: LINK_BITS_PER_SECOND / 8,
    signal,
    onSnapshot: (snapshot) => screen.show(snapshot),
  });
  const rows = verdictOf(delivery);
  screen.line(`\n${renderTable(rows, (text, ok) => screen.paint(text, ok))}\n`);
  screen.line(await cluster.kubectl(['get', 'distributions,origins', '-A']));
  const failed = rows.filter(({ holds }) => !holds);
  if (failed.length > 0) {
    screen.line(`demo: not as promised: ${failed.map(({ what }) => what).join('; ')}`);
    process.exitCode = 1;
  } else screen.line('demo: everything is as promised');
} catch (error) {
  // What was under way when it was ended fails in its own words.
  failWith('demo', signal.aborted ? signal.reason : error);
} finally {
  if (setting !== undefined) {
    if (!signal.aborted) screen.line('demo: ending the cluster');
    await setting.sluice.read.close();
    await setting.cluster.stop();
  }
}
