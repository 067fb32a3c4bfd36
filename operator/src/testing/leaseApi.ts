/** Leases, as an API server keeps them: who writes an older version of one is refused. */
import { type KubeClient, KubeError } from '../kube/client.ts';

export interface Lease {
  readonly metadata: { readonly name?: string; readonly resourceVersion: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

interface LeaseRequest {
  readonly method: string;
  readonly path: string;
  readonly body?: Lease;
}

export function leaseApi() {
  const leases = new Map<string, Lease>();
  let version = 0;
  const state = { isSilent: false };
  const request = async ({ method, path, body }: LeaseRequest) => {
    if (state.isSilent) return new Promise<never>(() => {});
    const key = method === 'POST' ? `${path}/${body?.metadata.name}` : path;
    const lease = leases.get(key);
    if (method === 'GET') {
      if (lease === undefined) throw new KubeError('NotFound', 404, 'there is none');
      return lease;
    }
    if (method === 'POST' && lease !== undefined) {
      throw new KubeError('AlreadyExists', 409, 'there is one');
    }
    if (method === 'PUT' && body?.metadata.resourceVersion !== lease?.metadata.resourceVersion) {
      throw new KubeError('Conflict', 409, 'it has changed');
    }
    version += 1;
    const written = { metadata: { resourceVersion: `${version}` }, spec: body?.spec ?? {} };
    leases.set(key, written);
    return written;
  };
  return { state, client: { request } as unknown as KubeClient };
}
