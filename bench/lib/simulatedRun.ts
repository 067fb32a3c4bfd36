/** One of the set-ups of bench/swarm.ts in the simulation: the product on a virtual clock. */
import { pieceLengthFor } from '@sluice/engine/pieces/layout.ts';
import { SwarmWorld } from '@sluice/engine/sim/swarmWorld.ts';
import { PAYLOAD_SHARE } from './fluidBound.ts';
import { boundOf, bytesPerSecond, type LinkRates, type Setup, sizeBytesOf } from './setups.ts';

export interface SimulatedRun {
  readonly setup: string;
  readonly seed: number;
  /** Until the last node had the file. */
  readonly seconds: number;
  readonly boundSeconds: number;
  readonly oneCopyBoundSeconds: number;
  /** The last of the nodes whose link is the fastest one. */
  readonly fastSeconds: number;
  /** From their own start. */
  readonly lateSeconds?: number;
  /** When the late nodes began, or the relay was killed. */
  readonly halfwaySeconds?: number;
  /** When the origin had given its last byte. */
  readonly originSeconds: number;
  readonly originCopies: number;
  /** What relays sent to nodes and each other. */
  readonly relayCopies: number;
  /** What nodes received that they had, in copies of the file a node. */
  readonly duplicateCopies: number;
  readonly relaysUpUse: number;
  readonly nodesUpUse: number;
  /** Nodes' bytes per second over what the survivors allow, from 2 s to 6 s after a relay was killed. */
  readonly rateAfterKill?: number;
}

const MAX_SECONDS = 600;
const STEP_SECONDS = 0.1;
/** From one network namespace to another: next to nothing. */
const NAMESPACE_DELAY_MS = 0.05;
/** An acknowledgement of 66 bytes for each two packets: what nodes that receive much give less of. */
const ACKNOWLEDGED_SHARE = 66 / (2 * 1448);

/** `withTcp`: with the simulation's own TCP, over links as short as those of bench/swarm.ts. */
export async function simulatedRun(
  setup: Setup,
  seed: number,
  withTcp = false,
): Promise<SimulatedRun> {
  const sizeBytes = sizeBytesOf(setup);
  const pieceLengthBytes = pieceLengthFor(sizeBytes);
  const link = ({ down, up }: LinkRates) => ({
    downRate: bytesPerSecond(down) * PAYLOAD_SHARE,
    upRate: bytesPerSecond(up) * PAYLOAD_SHARE,
  });
  const world = new SwarmWorld({
    seed,
    pieceCount: sizeBytes / pieceLengthBytes,
    pieceLengthBytes,
    originRate: bytesPerSecond(setup.origin) * PAYLOAD_SHARE,
    relays: setup.relays.map(link),
    nodes: setup.nodes.map(link),
    ...(withTcp
      ? { network: { tcp: true }, delayMs: NAMESPACE_DELAY_MS }
      : { network: { acknowledgedShare: ACKNOWLEDGED_SHARE } }),
  });
  const { nodes, relays, clock } = world;
  const first = nodes.slice(0, nodes.length - (setup.lateNodes ?? 0));
  const late = nodes.slice(first.length);
  const received = () =>
    first.reduce((sum, { transfer }) => sum + transfer.progress().verifiedBytes, 0);
  await world.begin(first);
  let halfAt: number | undefined;
  const samples: { seconds: number; bytes: number; origin: number }[] = [];
  while (nodes.some(({ doneAtMs }) => doneAtMs === undefined)) {
    const seconds = clock.now() / 1000;
    if (seconds > MAX_SECONDS) throw new Error(`set-up ${setup.name}, seed ${seed}: not done`);
    samples.push({ seconds, bytes: received(), origin: world.origin.sentBytes });
    if (halfAt === undefined && received() >= (first.length * sizeBytes) / 2) {
      halfAt = seconds;
      if (late.length > 0) await world.begin(late);
      const [victim] = relays;
      if (setup.killsRelay && victim !== undefined) await world.kill(victim);
    }
    await world.pass(STEP_SECONDS);
  }
  const secondsOf = (of: typeof nodes) =>
    Math.max(...of.map(({ doneAtMs }) => doneAtMs ?? 0)) / 1000;
  const seconds = secondsOf(nodes);
  const fastest = Math.max(...setup.nodes.map(({ down }) => down));
  const fast = nodes.filter((_, at) => setup.nodes[at]?.down === fastest);
  const bound = boundOf(setup);
  const sent = (of: typeof nodes) => of.reduce((sum, { host }) => sum + host.sentBytes, 0);
  const uses = (of: typeof nodes) =>
    sent(of) / of.reduce((sum, { host }) => sum + host.rates.upRate * seconds, 0);
  const extra = nodes.reduce((sum, { transfer }) => {
    const { received: from, verifiedBytes } = transfer.progress();
    return sum + Object.values(from).reduce((all, bytes) => all + bytes, 0) - verifiedBytes;
  }, 0);
  const all = samples.at(-1)?.origin ?? 0;
  const rateAfter = (from: number, to: number) => {
    const at = (when: number) => samples.findLast((sample) => sample.seconds <= when + 0.01);
    const [one, other] = [at((halfAt ?? 0) + from), at((halfAt ?? 0) + to)];
    if (one === undefined || other === undefined || other.seconds <= one.seconds) return 0;
    const { oneCopySeconds } = boundOf({ ...setup, relays: setup.relays.slice(1) });
    const could = (setup.nodes.length * sizeBytes) / oneCopySeconds;
    return (other.bytes - one.bytes) / (other.seconds - one.seconds) / could;
  };
  const run: SimulatedRun = {
    setup: setup.name,
    seed,
    seconds,
    boundSeconds: bound.seconds,
    oneCopyBoundSeconds: bound.oneCopySeconds,
    fastSeconds: secondsOf(fast),
    originSeconds: samples.find(({ origin }) => origin >= all * 0.995)?.seconds ?? 0,
    originCopies: world.originCopies,
    relayCopies: sent(relays) / sizeBytes,
    duplicateCopies: extra / nodes.length / sizeBytes,
    relaysUpUse: uses(relays),
    nodesUpUse: uses(nodes),
    ...(halfAt !== undefined && { halfwaySeconds: halfAt }),
    ...(halfAt !== undefined && late.length > 0 && { lateSeconds: secondsOf(late) - halfAt }),
    ...(setup.killsRelay && { rateAfterKill: rateAfter(2, 6) }),
  };
  await world.stop();
  return run;
}
