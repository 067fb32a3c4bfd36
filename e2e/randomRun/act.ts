/** Does a step of a random run on the cluster. */
import { rm, truncate } from 'node:fs/promises';
import path from 'node:path';
import type { ClusterNode } from '../cluster/cluster.ts';
import { killPod, signalPod } from '../install/processes.ts';
import { distributionResource } from '../install/resources.ts';
import { NAMESPACE, type Pod, type Sluice } from '../install/sluice.ts';
import type { AtOrigin } from './atOrigin.ts';
import type { Component, Meddling, Step, Version, Wanted, WorldFile } from './steps.ts';
import { isAway, type World } from './world.ts';

const DRAIN_TIMEOUT_MS = 60_000;
const POOL_LABEL = 'random.sluice.test/pool';
const RELAYS = ['-l', 'app.kubernetes.io/component=relay', '-n', NAMESPACE];
/** A container that was killed often is started again after minutes. */
const PROCESS_TIMEOUT_MS = 300_000;
const DRAIN_GAVE_UP = /timeout|timed out/;

/** How what was spoilt for a while is mended; undefined: nothing was. */
export type Mend = (() => Promise<void>) | undefined;

/** `world`: as it is to be after the step. */
export async function act(
  sluice: Sluice,
  step: Step,
  world: World,
  origin: AtOrigin,
): Promise<Mend> {
  const { cluster } = sluice;
  switch (step.kind) {
    case 'apply':
    case 'replace':
    case 'edit': {
      const wanted = world.wanted.get(step.kind === 'apply' ? step.wanted.name : step.name);
      if (wanted === undefined) throw new Error(`${step.kind}: there is nothing to apply`);
      await origin.put(wanted.version);
      await sluice.apply(resourceOf(wanted, origin));
      return;
    }
    case 'delete':
      // Not waited for: what comes next meets it half way.
      await cluster.kubectl(['delete', 'distribution', step.name, '--wait=false']);
      return;
    case 'cordon':
    case 'uncordon':
      await cluster.kubectl([step.kind, step.node]);
      return;
    case 'drain':
      return drain(sluice, step.node, world);
    case 'relabel': {
      const label = step.inPool ? `${POOL_LABEL}=yes` : `${POOL_LABEL}-`;
      await cluster.kubectl(['label', 'node', step.node, label]);
      return;
    }
    case 'powerOff':
      await nodeOf(sluice, step.node).stop();
      return;
    case 'powerOn':
      // It is on when it could not be switched off.
      if (nodeOf(sluice, step.node).process === undefined) await nodeOf(sluice, step.node).start();
      return;
    case 'removeNode':
      return removeNode(sluice, step.node);
    case 'joinNode':
      return joinNode(sluice, step.node);
    case 'reinstall':
      await removeNode(sluice, step.node);
      return joinNode(sluice, step.node);
    case 'kill':
      await onProcess(sluice, step, world, (pod) => killPod(cluster, pod));
      return;
    case 'evict': {
      const { name } = await onePod(sluice, step, world);
      await cluster.kubectl(['delete', 'pod', name, '-n', NAMESPACE, '--wait=false']);
      return;
    }
    case 'freeze': {
      const pod = await onProcess(sluice, step, world, (found) => {
        return signalPod(cluster, found, 'SIGSTOP');
      });
      // By then its kubelet may have killed it, or its node may be gone.
      return () => signalPod(cluster, pod, 'SIGCONT').catch(() => {});
    }
    case 'rollOut': {
      const deployment = ['deployment/sluice-operator', '-n', NAMESPACE];
      await cluster.kubectl(['rollout', 'restart', ...deployment]);
      return;
    }
    case 'originTrouble':
      return origin.spoil(step.how);
    case 'damage':
      return damage(sluice, step, world);
    case 'meddle':
      return meddle(sluice, step.how);
    case 'meddleWith':
      return meddleWith(sluice, step, world);
  }
}

/** The bundled database cannot move: its disk is on one node. Agents belong to their nodes. */
async function drain(sluice: Sluice, node: string, { away }: World): Promise<undefined> {
  const movable = 'app.kubernetes.io/component in (relay,operator)';
  const limits = ['--delete-emptydir-data', '--ignore-daemonsets', '--force'];
  const timeout = `--timeout=${DRAIN_TIMEOUT_MS / 1000}s`;
  const args = ['drain', node, `--pod-selector=${movable}`, ...limits, timeout];
  try {
    await sluice.cluster.kubectl(args, { timeoutMs: DRAIN_TIMEOUT_MS + 10_000 });
  } catch (error) {
    // An operator is held by its budget while the other one is not back; so is a relay while what
    // should take its place is on a node that is away.
    const said = String(error);
    const isHeld = away !== undefined || !said.includes('sluice-relay');
    if (!isHeld || !DRAIN_GAVE_UP.test(said)) throw error;
  }
}

async function removeNode(sluice: Sluice, name: string): Promise<undefined> {
  await nodeOf(sluice, name).stop();
  await sluice.cluster.kubectl(['delete', 'node', name]);
}

async function joinNode(sluice: Sluice, name: string): Promise<undefined> {
  const node = nodeOf(sluice, name);
  await node.emptyDisk();
  await node.start();
  // What comes next may want to label it.
  await sluice.until(`the object of ${name}`, async () => {
    const found = await sluice.cluster.kubectl(['get', 'node', name, '--ignore-not-found']);
    return found === '' ? undefined : true;
  });
}

async function damage(
  sluice: Sluice,
  { name, node, how, which }: Extract<Step, { kind: 'damage' }>,
  world: World,
): Promise<undefined> {
  const wanted = world.wanted.get(name);
  const file = wanted?.version.files[which % wanted.version.files.length];
  if (wanted === undefined || file === undefined) throw new Error(`${name} has no file`);
  const link = path.join(sluice.root(nodeOf(sluice, node)), 'default', wanted.path);
  if (how === 'removeLink') return rm(link, { force: true }).then(() => undefined);
  const placed = path.join(link, placedName(wanted.version, file.path));
  // It may not be there yet.
  if (how === 'removeFile') await rm(placed, { force: true });
  else await truncate(placed, 0).catch(ignoreMissing);
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

async function meddle(sluice: Sluice, how: Meddling): Promise<undefined> {
  const { cluster } = sluice;
  switch (how) {
    case 'scaleRelays': {
      const names = await cluster.kubectl(['get', 'deployments', ...RELAYS, '-o', 'name']);
      for (const name of names.split('\n').filter(Boolean)) {
        // It may be gone by now: nobody needs it.
        const scale = ['scale', name, '-n', NAMESPACE, '--replicas=0'];
        await cluster.kubectl(scale).catch(ignoreNotFound);
      }
      return;
    }
    case 'deleteRelays':
      await cluster.kubectl(['delete', 'deployments', ...RELAYS, '--wait=false']);
      return;
    case 'deleteAgents': {
      const agents = ['delete', 'daemonset', 'sluice-agent', '-n', NAMESPACE];
      await cluster.kubectl([...agents, '--ignore-not-found', '--wait=false']);
    }
  }
}

async function meddleWith(
  { cluster }: Sluice,
  { name, how }: Extract<Step, { kind: 'meddleWith' }>,
  world: World,
): Promise<undefined> {
  switch (how) {
    case 'removeLabels':
      await cluster.kubectl(['label', 'nodes', '--all', `default.dist.sluice.dev/${name}-`]);
      return;
    case 'deleteClaim': {
      const claim = world.wanted.get(name)?.settings.claim ?? name;
      await cluster.kubectl(['delete', 'pvc', claim, '--ignore-not-found', '--wait=false']);
      return;
    }
    case 'writeStatus': {
      const status = { nodes: { ready: 99 }, conditions: [] };
      const patch = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })];
      await cluster.kubectl(['patch', 'distribution', name, ...patch]);
    }
  }
}

export function ignoreNotFound(error: unknown): void {
  if (!String(error).includes('NotFound')) throw error;
}

/** Of a pod whose container waits to be started again there is none now. */
async function onProcess(
  sluice: Sluice,
  step: { readonly component: Component; readonly which: number },
  world: World,
  strike: (pod: Pod) => Promise<void>,
): Promise<Pod> {
  return sluice.until(
    `a process of ${step.component}`,
    async () => {
      const pod = await onePod(sluice, step, world);
      await strike(pod);
      return pod;
    },
    PROCESS_TIMEOUT_MS,
  );
}

async function onePod(
  sluice: Sluice,
  { component, which }: { readonly component: Component; readonly which: number },
  world: World,
): Promise<Pod> {
  const pods = await sluice.until(`a pod of ${component}`, async () => {
    const running = await sluice.pods(component);
    const found = running.filter(({ node }) => !isAway(world, node));
    return found.length > 0 || component === 'relay' ? found : undefined;
  });
  const pod = pods[which % Math.max(1, pods.length)];
  // Without work there are no relays.
  return pod ?? onePod(sluice, { component: 'agent', which }, world);
}

function nodeOf(sluice: Sluice, name: string): ClusterNode {
  const found = sluice.cluster.nodes.find((node) => node.name === name);
  if (found === undefined) throw new Error(`there is no node ${name}`);
  return found;
}

function resourceOf(
  { name, path, version, settings }: Wanted,
  origin: Pick<AtOrigin, 'url' | 'digestOf'>,
): object {
  const { zone, isForPool, fileMode, keepVersions, nodeLabel, claim } = settings;
  const { suspend, priority, transport, maxParallelNodes, dedicated, nodesPerRelay } = settings;
  const { deletionPolicy, graceSeconds } = settings;
  const nodeSelector = {
    ...(zone !== undefined && { 'topology.kubernetes.io/zone': zone }),
    ...(isForPool && { [POOL_LABEL]: 'yes' }),
  };
  return distributionResource({
    name,
    url: origin.url,
    spec: {
      source: sourceOf(version, origin),
      target: {
        path,
        fileMode,
        keepVersions,
        nodeLabel,
        nodeSelector,
        ...(claim !== undefined && { persistentVolumeClaim: claim }),
      },
      delivery: { transport, maxParallelNodes },
      relays: { dedicated, nodesPerRelay },
      priority,
      suspend,
      deletionPolicy,
      deletionGraceSeconds: graceSeconds,
    },
  });
}

function sourceOf(
  { folder, files, kind, list, hasDigests }: Version,
  origin: Pick<AtOrigin, 'url' | 'digestOf'>,
): object {
  const { url } = origin;
  const digest = (file: WorldFile) => hasDigests && { digest: `sha256:${origin.digestOf(file)}` };
  switch (kind) {
    case 'one': {
      const [file] = files;
      if (file === undefined) throw new Error(`${folder} has no file`);
      return { url: `${url}/${folder}/${file.path}`, ...digest(file) };
    }
    case 'files':
      return {
        url: `${url}/${folder}/`,
        files: files.map((file) => ({ path: file.path, ...digest(file) })),
      };
    case 'list':
      return { url: `${url}/${folder}/`, filesFrom: { path: list } };
  }
}

/** Below the link: one file has no folders. */
export function placedName({ kind }: Pick<Version, 'kind'>, file: string): string {
  return kind === 'one' ? path.basename(file) : file;
}
