/** Does a step of a random run on the cluster. */
import { killPod } from '../install/processes.ts';
import { distributionResource } from '../install/resources.ts';
import { NAMESPACE, type Pod, type Sluice } from '../install/sluice.ts';
import type { Component, Step, Version, Wanted, WorldFile } from './world.ts';

const DRAIN_TIMEOUT_MS = 60_000;

export interface Digests {
  /** Hexadecimal SHA-256 by seed. */
  readonly of: Map<string, string>;
}

/** What the origin must have before a step is taken. */
export async function putVersion(
  sluice: Sluice,
  version: Version,
  digests: Digests,
): Promise<void> {
  for (const file of version.files) {
    const name = `${version.folder}/${file.path}`;
    const { sha256 } = await sluice.cluster.origin.putFile(name, file);
    digests.of.set(file.seed, sha256);
  }
}

/** `wanted`: what is to be true of the Distribution that the step is about. */
export async function act(
  sluice: Sluice,
  step: Step,
  wanted: Wanted | undefined,
  digests: Digests,
): Promise<void> {
  const { cluster } = sluice;
  switch (step.kind) {
    case 'apply':
    case 'replace':
    case 'edit':
      if (wanted === undefined) throw new Error(`${step.kind}: there is nothing to apply`);
      if (step.kind !== 'edit') await putVersion(sluice, wanted.version, digests);
      return sluice.apply(resourceOf(wanted, cluster.origin.url, digests));
    case 'delete':
      // Not waited for: what comes next meets it half way.
      await cluster.kubectl(['delete', 'distribution', step.name, '--wait=false']);
      return;
    case 'cordon':
    case 'uncordon':
      await cluster.kubectl([step.kind, step.node]);
      return;
    case 'drain':
      await cluster.kubectl(drainArguments(step.node), { timeoutMs: DRAIN_TIMEOUT_MS + 10_000 });
      return;
    case 'kill':
      return killPod(cluster, await onePod(sluice, step.component, step.which));
    case 'evict': {
      const { name } = await onePod(sluice, step.component, step.which);
      await cluster.kubectl(['delete', 'pod', name, '-n', NAMESPACE, '--wait=false']);
    }
  }
}

/** The bundled database cannot move: its disk is on one node. Agents belong to their nodes. */
function drainArguments(node: string): string[] {
  const movable = 'app.kubernetes.io/component in (relay,operator)';
  const limits = ['--delete-emptydir-data', '--ignore-daemonsets', '--force'];
  const timeout = `--timeout=${DRAIN_TIMEOUT_MS / 1000}s`;
  return ['drain', node, `--pod-selector=${movable}`, ...limits, timeout];
}

async function onePod(sluice: Sluice, component: Component, which: number): Promise<Pod> {
  const pods = await sluice.until(`a pod of ${component}`, async () => {
    const found = await sluice.pods(component);
    return found.length > 0 || component === 'relay' ? found : undefined;
  });
  // Without work there are no relays.
  return pods[which % Math.max(1, pods.length)] ?? onePod(sluice, 'agent', which);
}

export function resourceOf(
  { name, version, settings }: Wanted,
  originUrl: string,
  digests: Digests,
): object {
  const { zone, suspend, priority, transport, maxParallelNodes } = settings;
  const { fileMode, nodeLabel, dedicated } = settings;
  return distributionResource({
    name,
    url: originUrl,
    spec: {
      source: sourceOf(version, originUrl, digests),
      target: {
        path: name,
        fileMode,
        nodeLabel,
        ...(zone !== undefined && { nodeSelector: { 'topology.kubernetes.io/zone': zone } }),
      },
      delivery: { transport, maxParallelNodes },
      relays: { dedicated },
      priority,
      suspend,
    },
  });
}

function sourceOf({ folder, files, isSet, hasDigests }: Version, url: string, digests: Digests) {
  const digestOf = (file: WorldFile) => ({ digest: `sha256:${digests.of.get(file.seed)}` });
  const [first] = files;
  if (!isSet && first !== undefined) {
    const digest = hasDigests && digestOf(first);
    return { url: `${url}/${folder}/${first.path}`, ...digest };
  }
  return {
    url: `${url}/${folder}/`,
    files: files.map((file) => ({ path: file.path, ...(hasDigests && digestOf(file)) })),
  };
}
