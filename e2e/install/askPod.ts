/** What a pod answers over HTTP, asked from outside the cluster and without the API server. */
import type { Cluster } from '../cluster/cluster.ts';

const TIMEOUT_MS = 10_000;

/** To be asked one after the other: a way in takes the first port that is free. */
export async function askPod(
  cluster: Cluster,
  { address }: { readonly address: string },
  podPort: number,
  path: string,
): Promise<{ status: number; text: string }> {
  const { port, close } = await cluster.reach(address, podPort);
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { signal });
    return { status: answer.status, text: await answer.text() };
  } finally {
    await close();
  }
}
