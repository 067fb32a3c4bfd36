/** Kills the processes of pods themselves: nothing is told, nothing is closed in good order. */
import { readdir, readFile } from 'node:fs/promises';
import type { Cluster } from '../cluster/cluster.ts';

/** Kills the Node processes of a pod; its kubelet starts the container again. */
export async function killPod(cluster: Cluster, pod: { node: string; uid: string }): Promise<void> {
  const pids = await pidsOf(cluster, pod);
  if (pids.length === 0) throw new Error(`no process of pod ${pod.uid} runs on ${pod.node}`);
  for (const pid of pids) process.kill(pid, 'SIGKILL');
}

async function pidsOf(cluster: Cluster, pod: { node: string; uid: string }): Promise<number[]> {
  const pids: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const groups = await readFile(`/proc/${entry}/cgroup`, 'utf8').catch(() => '');
    if (!groups.includes(`/${cluster.name}/${pod.node}/`) || !groups.includes(pod.uid)) continue;
    // The pod's sandbox is a process of its own, which stays.
    const command = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    if (command.includes('main.ts')) pids.push(Number(entry));
  }
  return pids;
}
