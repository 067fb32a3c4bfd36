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
  const [pid] = await pidsOf(cluster, pod);
  const rules =
    'port' in from
      ? [['INPUT', '-p', 'tcp', '--dport', String(from.port)]]
      : from.addresses.flatMap((address) => [
          ['OUTPUT', '-d', address],
          ['INPUT', '-s', address],
        ]);
  const tables = async (action: '-I' | '-D') => {
    for (const rule of rules) {
      const inPod = ['-t', String(pid), '-n', 'iptables', '-w', action, ...rule, '-j', 'DROP'];
      await run('nsenter', inPod);
    }
  };
  await tables('-I');
  return () => tables('-D');
}

async function pidsOf(cluster: Cluster, pod: PodOnNode): Promise<number[]> {
  const pids: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const groups = await readFile(`/proc/${entry}/cgroup`, 'utf8').catch(() => '');
    if (!groups.includes(`/${cluster.name}/${pod.node}/`) || !groups.includes(pod.uid)) continue;
    // The pod's sandbox is a process of its own, which stays.
    const command = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (PROGRAMS.some((program) => command.includes(program))) pids.push(Number(entry));
  }
  if (pids.length === 0) throw new Error(`no process of pod ${pod.uid} runs on ${pod.node}`);
  return pids;
}
