/** Sluice: the real relay and agent processes, and the operator's control API over them. */
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { repositoryRoot } from '../../e2e/cluster/paths.ts';
import { ControlServer } from './controlServer.ts';
import { heldAlone } from './heldAlone.ts';
import { type Host, onHost, setLink } from './links.ts';
import { FILE_NAME, makeFile } from './origin.ts';
import type { Started } from './processes.ts';
import { bytesPerSecond, type LinkRates } from './setups.ts';
import type { Facts, Rig, RunningSystem, System } from './system.ts';

const UID = 'bench';
const TARGET = { path: 'model', fileMode: '0644', keepVersions: 1 };
/**
 * What all processes deliver before the run: they are daemons that run for months, and what V8 needs
 * to compile is not what a user waits for.
 */
const WARM_UP = {
  uid: 'warm-up',
  target: { path: 'warm-up', fileMode: '0644', keepVersions: 1 },
  sizeMiB: 128,
  /** Mbit/s that a link has meanwhile at least: nobody waits for slow ones to carry this. */
  linkRate: 100,
};
const MAX_CONNECTIONS = 8;
/**
 * The user limits nothing here but the link: the limit must be high enough that its usable 95 %
 * are more than the link carries.
 */
const LIMIT_OVER_LINK = 1.1;
/** The kubelet looks once a second which containers have ended. */
const KUBELET_MS = 1000;
const START_TIMEOUT_MS = 120_000;

export const sluice: System = {
  name: 'sluice',
  about: `relay and agent processes as in the images, which have delivered a file of ${WARM_UP.sizeMiB} MiB before; the operator without Kubernetes`,
  usesRelays: true,
  prepare,
};

async function prepare(rig: Rig): Promise<RunningSystem> {
  const { origin, relays, nodes, folder, processes, setup, signal } = rig;
  const control = new ControlServer({
    folder,
    origin: {
      host: origin.host.address,
      maxConnections: MAX_CONNECTIONS,
      maxBandwidthBytesPerSecond: Math.round(bytesPerSecond(setup.origin) * LIMIT_OVER_LINK),
    },
  });
  await control.start();
  const started = new Map<string, Started>();
  for (const host of [...relays, ...nodes]) started.set(host.name, await startProcess(host));
  await untilConnected();
  await warmUp();
  const record = await control.makeEpoch(UID, origin.url, signal, setup.pieceLengthBytes);

  const begun: string[] = [];
  const isDone = new Set<string>();
  const dead = new Set<string>();
  let failure: string | undefined;
  let lost: Facts['lost'];
  control.coordinator.onChange((uid) => {
    if (uid !== UID) return;
    const view = control.coordinator.view(uid);
    for (const node of view?.nodes ?? []) {
      if (node.state === 'failed') failure = `${node.name}: ${node.error?.message}`;
      if (node.state !== 'ready' || isDone.has(node.name)) continue;
      isDone.add(node.name);
      rig.done(nodes.find(({ name }) => name === node.name) as Host);
    }
  });

  return {
    begin(more) {
      begun.push(...more.map(({ name }) => name));
      control.apply(record, begun, TARGET, setup.delivery);
    },
    fileOf: ({ name }) => path.join(folder, name, 'team', TARGET.path, FILE_NAME),
    killRelay({ name }) {
      dead.add(name);
      started.get(name)?.child.kill('SIGKILL');
      const others = [...started.keys()].filter((each) => !dead.has(each));
      const folders = others.map((each) => path.join(folder, each));
      heldAlone(path.join(folder, name), folders, record.pieceCount).then(
        (pieces) => {
          lost = { pieces, pieceLengthBytes: record.pieceLengthBytes };
        },
        (error) => {
          failure = `what ${name} had: ${error}`;
        },
      );
      setTimeout(() => control.containerEnded(name), KUBELET_MS).unref();
    },
    pids: new Map([...started].map(([name, { child }]) => [name, child.pid ?? 0])),
    check: () => {
      if (failure !== undefined) throw new Error(failure);
      processes.check(new Set([...started.keys()].filter((name) => !dead.has(name))));
    },
    facts: () => ({ ...factsOf(control, UID), ...(lost !== undefined && { lost }) }),
    stop: () => control.stop(),
  };

  async function startProcess(host: Host): Promise<Started> {
    const { name, address } = host;
    const kind = host.kind === 'relay' ? 'relay' : 'agent';
    control.know({ name, kind, node: name, address });
    const own = path.join(folder, name);
    const tokenFile = path.join(folder, `${name}.token`);
    await mkdir(own);
    await writeFile(tokenFile, name);
    const program = kind === 'relay' ? 'relay-image/src/main.ts' : 'node-agent/src/main.ts';
    // Arguments for node, to profile with: `--cpu-prof` and the like.
    const nodeArguments = process.env.BENCH_NODE_ARGUMENTS?.split(' ') ?? [];
    return processes.start(name, onHost(host, [process.execPath, ...nodeArguments, program]), {
      cwd: repositoryRoot,
      env: {
        SLUICE_CONTROL_URL: control.url,
        SLUICE_CA_FILE: control.caFile,
        SLUICE_TOKEN_FILE: tokenFile,
        SLUICE_MIN_FREE_PERCENT: '0',
        ...(kind === 'relay' ? { SLUICE_CACHE: own } : { SLUICE_ROOT: own }),
      },
    });
  }

  function untilConnected(): Promise<void> {
    const connected = () => control.coordinator.fleet.connected().length;
    return until(() => connected() === started.size, 'not all processes have come');
  }

  async function warmUp(): Promise<void> {
    const { uid, target, linkRate } = WARM_UP;
    const sizeMiB = setup.warmUpMiB ?? WARM_UP.sizeMiB;
    const slow = [...relays, ...nodes].filter(
      ({ link }) => Math.min(link.down, link.up) < linkRate,
    );
    for (const host of slow) await setLink(host, atLeast(host.link, linkRate));
    await makeFile(path.join(path.dirname(origin.file.path), `${uid}.bin`), sizeMiB * 1024 ** 2);
    const url = new URL(`${uid}.bin`, origin.url).href;
    const names = nodes.map(({ name }) => name);
    control.apply(await control.makeEpoch(uid, url, signal), names, target);
    const isReady = () =>
      control.coordinator.view(uid)?.nodes.every(({ state }) => state === 'ready') === true;
    await until(isReady, 'the first file does not come');
    control.coordinator.remove(uid, { deleteFiles: true });
    await until(() => control.coordinator.removed(uid), 'the first file is not removed');
    for (const host of slow) await setLink(host, host.link);
  }

  async function until(isSo: () => boolean, otherwise: string): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!isSo()) {
      processes.check(new Set(started.keys()));
      if (performance.now() > deadline) throw new Error(otherwise);
      await sleep(50, undefined, { signal });
    }
  }
}

function atLeast({ down, up }: LinkRates, rate: number): LinkRates {
  return { down: Math.max(down, rate), up: Math.max(up, rate) };
}

function factsOf(control: ControlServer, uid: string): Facts {
  const view = control.coordinator.view(uid);
  if (view === undefined) return {};
  const sums = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
  let verified = 0;
  for (const { received, verifiedBytes } of view.nodes) {
    verified += verifiedBytes;
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += received[key];
  }
  const received = Object.values(sums).reduce((sum, bytes) => sum + bytes, 0);
  return {
    duplicateBytes: received - verified,
    receivedBytes: sums,
    relayUploadedBytes: Object.fromEntries(
      view.relays.map(({ name, uploadedBytes }) => [name, uploadedBytes]),
    ),
  };
}
