/** A run in lines for people. PURE. */
import { type Setup, sizeBytesOf } from './setups.ts';
import type { SwarmRun } from './swarmRun.ts';

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

export function tellRun(run: SwarmRun, setup: Setup): string {
  const { seconds, boundSeconds, oneCopyBoundSeconds, cpuSeconds, linkUse, facts } = run;
  const gib = sizeBytesOf(setup) / GIB;
  const perGib = (cpu: number, count: number) =>
    count === 0 ? '-' : (cpu / count / gib).toFixed(2);
  const times = Object.values(run.nodeSeconds).sort((a, b) => a - b);
  const lines = [
    `time ${seconds.toFixed(2)} s = ${(seconds / boundSeconds).toFixed(3)} x bound ${boundSeconds.toFixed(2)} s = ${(seconds / oneCopyBoundSeconds).toFixed(3)} x T1 ${oneCopyBoundSeconds.toFixed(2)} s`,
    `nodes done: first ${times[0]?.toFixed(2)} s, middle ${times[times.length >> 1]?.toFixed(2)} s, last ${times.at(-1)?.toFixed(2)} s`,
    `from the origin ${run.originCopies.toFixed(3)} copies, from relays ${run.relayCopies.toFixed(3)} copies (links)`,
    `links: origin ${percent(linkUse.origin)}, relays up ${percent(linkUse.relaysUp)}, nodes up ${percent(linkUse.nodesUp)}`,
    `processor ${percent(run.cpuBusyShare)} busy; relays ${cpuSeconds.relays.toFixed(1)} s (${perGib(cpuSeconds.relays, setup.relays.length)} s/GiB each), nodes ${cpuSeconds.nodes.toFixed(1)} s (${perGib(cpuSeconds.nodes, setup.nodes.length)} s/GiB each)`,
  ];
  lines.push(
    `the origin was done at ${run.originSeconds.toFixed(2)} s; last node ${(seconds - run.originSeconds).toFixed(2)} s after it`,
  );
  if (facts.receivedBytes !== undefined) {
    const parts = Object.entries(facts.receivedBytes).map(([of, bytes]) => `${of} ${mib(bytes)}`);
    lines.push(`received: ${parts.join(', ')}; twice ${mib(facts.duplicateBytes ?? 0)}`);
  }
  if (facts.relayUploadedBytes !== undefined) {
    const given = Object.entries(facts.relayUploadedBytes);
    lines.push(`relays gave: ${given.map(([of, bytes]) => `${of} ${mib(bytes)}`).join(', ')}`);
  }
  if (run.halfwaySeconds !== undefined) lines.push(`half at ${run.halfwaySeconds.toFixed(2)} s`);
  if (run.rateAfterKill !== undefined) {
    lines.push(`rate 2 s to 6 s after the kill: ${percent(run.rateAfterKill)} of the survivors'`);
  }
  if (run.wrongNodes.length > 0) lines.push(`WRONG FILE on ${run.wrongNodes.join(', ')}`);
  if (run.leftOut !== undefined) lines.push(`left out: ${run.leftOut}`);
  return lines.map((line) => `  ${line}`).join('\n');
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}
