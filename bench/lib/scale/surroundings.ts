/** What is around an operator at scale: the origin that it asks, and what a user and a kubelet do. */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { labelKey } from '@sluice/operator/controllers/workloads/labelKey.ts';
import { listPath, resources } from '@sluice/operator/kube/paths.ts';
import type { TestApiServer } from '@sluice/operator/testing/adapters/apiServer.ts';
import { BRIDGE_ADDRESS } from '../namespaces.ts';
import { NAMESPACE } from './kubernetes.ts';

const FILE_BYTES = 8 * 1024 ** 3;

export async function applyOrigin(api: TestApiServer): Promise<void> {
  await api.admin.request({
    method: 'POST',
    path: listPath(resources.origins),
    body: {
      apiVersion: 'sluice.dev/v1alpha1',
      kind: 'Origin',
      metadata: { name: 'bench' },
      spec: {
        hosts: [BRIDGE_ADDRESS],
        limits: { maxConnections: 64, maxBandwidth: '1Gi' },
        allowPrivateAddresses: true,
      },
    },
  });
}

export function allReady(api: TestApiServer, distributions: number): Promise<boolean> {
  return areTrue(api, 'Ready', distributions);
}

/** So many distributions have the condition, and it is True. */
export async function areTrue(api: TestApiServer, of: string, count: number): Promise<boolean> {
  interface List {
    items: { status?: { conditions?: { type: string; status: string }[] } }[];
  }
  const path = listPath(resources.distributions, 'default');
  const { items } = await api.admin.request<List>({ method: 'GET', path });
  const found = items.filter(({ status }) =>
    status?.conditions?.some(({ type, status }) => type === of && status === 'True'),
  );
  return found.length === count;
}

/** So many nodes have the label of a distribution, with its first epoch. */
export async function labelledNodes(api: TestApiServer, name: string): Promise<number> {
  const { items } = await api.admin.request<{ items: unknown[] | null }>({
    method: 'GET',
    path: listPath(resources.nodes),
    query: { labelSelector: `${labelKey({ namespace: 'default', name })}=1` },
    accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
  });
  // None are null in a list of metadata.
  return items?.length ?? 0;
}

/** As it is mounted into the agents' pods. */
export async function caFile(api: TestApiServer, folder: string): Promise<string> {
  const path_ = `/api/v1/namespaces/${NAMESPACE}/configmaps/sluice-ca`;
  const { data } = await api.admin.request<{ data: Record<string, string> }>({
    method: 'GET',
    path: path_,
  });
  const file = path.join(folder, 'ca.crt');
  await writeFile(file, data['ca.crt'] ?? '');
  return file;
}

/** Answers each probe: a file of 8 GiB whose first byte is wanted. */
export async function startOrigin(): Promise<Server> {
  const server = createServer((_request, response) => {
    response.writeHead(206, {
      'content-range': `bytes 0-0/${FILE_BYTES}`,
      'content-length': 1,
      etag: '"bench"',
    });
    response.end('x');
  });
  server.listen(80, BRIDGE_ADDRESS);
  await once(server, 'listening');
  return server;
}

const TELL_MS = 30_000;

/** Each half minute, and when the time is over, it is said how far it is, if that is known. */
export async function until(
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
  is: () => Promise<boolean>,
  howFar?: () => Promise<string>,
): Promise<void> {
  const told = async () => (await howFar?.().catch(String)) ?? 'nobody says how far it was';
  const startedMs = performance.now();
  const deadline = startedMs + timeoutMs;
  let tellAtMs = startedMs + TELL_MS;
  while (!(await is())) {
    const nowMs = performance.now();
    if (nowMs > deadline) {
      throw new Error(`${what}: not within ${timeoutMs / 1000} s: ${await told()}`);
    }
    if (howFar !== undefined && nowMs > tellAtMs) {
      tellAtMs += TELL_MS;
      console.log(`  until ${what}, ${Math.round((nowMs - startedMs) / 1000)} s: ${await told()}`);
    }
    await sleep(1000, undefined, { signal });
  }
}
