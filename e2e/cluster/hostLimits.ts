/** Limits of the machine that hold for all processes of a user together, so for all nodes at once. */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** A node's containerd, kubelet and kube-proxy take about 15 instances of inotify, pods more. */
const LEAST = {
  'fs/inotify/max_user_instances': 8_192,
  'fs/inotify/max_user_watches': 524_288,
} as const;

/** Raises what is lower; nothing that runs already notices. */
export async function raiseHostLimits(): Promise<void> {
  for (const [name, least] of Object.entries(LEAST)) {
    const file = path.join('/proc/sys', name);
    const now = Number(await readFile(file, 'utf8'));
    if (now >= least) continue;
    await writeFile(file, String(least)).catch((error: unknown) => {
      const sysctl = `sysctl -w ${name.replaceAll('/', '.')}=${least}`;
      throw new Error(`${name} is ${now}, too low for several nodes; set it with: ${sysctl}`, {
        cause: error,
      });
    });
  }
}
