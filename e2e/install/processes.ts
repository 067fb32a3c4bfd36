/** What befalls the processes of pods: nothing is told, nothing is closed in good order. */
import { readdir, readFile } from 'node:fs/promises';
import type { Cluster } from '../cluster/cluster.ts';
import { run } from '../cluster/run.ts';

interface PodOnNode {
  readonly node: string;
  readonly uid: string;
}

/** What a pod runs besides its sandbox, as its command line says. */
const PROGRAMS = ['main.ts', '/ferretdb'];
/** A process of its own, which holds the pod's network. */
const SANDBOX = 'pause';

/** Kills the processes of a pod; its kubelet starts the container again. */
export function killPod(cluster: Cluster, pod: PodOnNode): Promise<void> {
  return signalPod(cluster, pod, 'SIGKILL');
}

export async function signalPod(
  cluster: Cluster,
  pod: PodOnNode,
  signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT',
): Promise<void> {
  for (const pid of await pidsOf(cluster, pod)) process.kill(pid, signal);
}

/**
 * Drops what goes between a pod and these addresses, or to this port of it, until the answer is
 * called; what it had open stays open.
 */
export async function cutPod(
  cluster: Cluster,
  pod: PodOnNode,
  from: { readonly addresses: readonly string[] } | { readonly port: number },
): Promise<() => Promise<void>> {
  // In the network of its sandbox, which stays when the container is started again.
  const { sandbox } = await processesOf(cluster, pod);
  if (sandbox === undefined) throw new Error(`pod ${pod.uid} has no sandbox on ${pod.node}`);
  const rules =
    'port' in from
      ? [['INPUT', '-p', 'tcp', '--dport', String(from.port)]]
      : from.addresses.flatMap((address) => [
          ['OUTPUT', '-d', address],
          ['INPUT', '-s', address],
        ]);
  const tables = async (action: '-I' | '-D') => {
    for (const rule of rules) {
      const inPod = ['-t', String(sandbox), '-n', 'iptables', '-w', action, ...rule, '-j', 'DROP'];
      await run('nsenter', inPod);
    }
  };
  await tables('-I');
  return () => tables('-D');
}

async function pidsOf(cluster: Cluster, pod: PodOnNode): Promise<number[]> {
  const { programs } = await processesOf(cluster, pod);
  if (programs.length === 0) throw new Error(`no process of pod ${pod.uid} runs on ${pod.node}`);
  return programs;
}

async function processesOf(
  cluster: Cluster,
  pod: PodOnNode,
): Promise<{ programs: number[]; sandbox: number | undefined }> {
  const programs: number[] = [];
  let sandbox: number | undefined;
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const groups = await readFile(`/proc/${entry}/cgroup`, 'utf8').catch(() => '');
    if (!groups.includes(`/${cluster.name}/${pod.node}/`) || !groups.includes(pod.uid)) continue;
    const command = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (PROGRAMS.some((program) => command.includes(program))) programs.push(Number(entry));
    else if (command.includes(SANDBOX)) sandbox = Number(entry);
  }
  return { programs, sandbox };
}
