/**
 * The Secret and the ConfigMap `sluice-ca`: the CA's keys and the key of the sessions, shared by
 * all replicas; the CA's certificates, for relays and agents.
 */
import { randomBytes } from 'node:crypto';
import { isKubeError, type KubeClient } from '../kube/client.ts';
import { type Authorities, type Authority, bundleOf, rotate, rotationDue } from './authority.ts';
import { makeAuthority } from './certificates.ts';

export interface Keys {
  readonly authorities: Authorities;
  readonly sessionKey: Buffer;
}

interface SecretBody {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly data?: Readonly<Record<string, string>>;
}

const NAME = 'sluice-ca';
const MANAGED_BY = { 'app.kubernetes.io/managed-by': 'sluice-operator' };
const SESSION_KEY_BYTES = 32;
/** Several replicas may make it at once: one wins, the others read. */
const ATTEMPTS = 5;

export class Keyring {
  readonly #client: KubeClient;
  readonly #namespace: string;

  constructor(options: { readonly namespace: string }, dependencies: { client: KubeClient }) {
    this.#namespace = options.namespace;
    this.#client = dependencies.client;
  }

  /** Reads the keys; whoever `mayWrite` makes and rotates them when it is time. */
  async load(mayWrite: boolean, nowMs: number, signal: AbortSignal): Promise<Keys | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const secret = await this.#read(signal);
      const keys = secret === undefined ? undefined : parse(secret.data ?? {});
      const rotation = rotationDue(keys?.authorities, nowMs);
      // Without any keys nobody can serve: then everybody may make them.
      if (rotation === undefined || (!mayWrite && keys !== undefined)) {
        if (keys !== undefined && mayWrite) await this.#publish(keys.authorities, signal);
        return keys;
      }
      const made = await makeAuthority(nowMs);
      const next: Keys = {
        authorities: rotate(keys?.authorities, rotation, () => made),
        sessionKey: keys?.sessionKey ?? randomBytes(SESSION_KEY_BYTES),
      };
      try {
        await this.#write(next, secret, signal);
        await this.#publish(next.authorities, signal);
        return next;
      } catch (error) {
        if (!isKubeError(error, 'AlreadyExists', 'Conflict')) throw error;
      }
    }
    throw new Error(`the Secret ${NAME} is changed by others all the time`);
  }

  async #read(signal: AbortSignal): Promise<SecretBody | undefined> {
    try {
      const path = `${this.#path('secrets')}/${NAME}`;
      return await this.#client.request<SecretBody>({ method: 'GET', path, signal });
    } catch (error) {
      if (isKubeError(error, 'NotFound')) return undefined;
      throw error;
    }
  }

  async #write(keys: Keys, before: SecretBody | undefined, signal: AbortSignal): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'Opaque',
      metadata: {
        name: NAME,
        labels: MANAGED_BY,
        // With the version that was read, an update of somebody else's is a conflict.
        ...(before && { resourceVersion: before.metadata.resourceVersion }),
      },
      data: format(keys),
    };
    const path = this.#path('secrets');
    if (before === undefined) await this.#client.request({ method: 'POST', path, body, signal });
    else await this.#client.request({ method: 'PUT', path: `${path}/${NAME}`, body, signal });
  }

  async #publish(authorities: Authorities, signal: AbortSignal): Promise<void> {
    const body = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: NAME, labels: MANAGED_BY },
      data: { 'ca.crt': bundleOf(authorities) },
    };
    const path = this.#path('configmaps');
    try {
      await this.#client.request({ method: 'PUT', path: `${path}/${NAME}`, body, signal });
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error;
      await this.#client.request({ method: 'POST', path, body, signal });
    }
  }

  #path(plural: string): string {
    return `/api/v1/namespaces/${this.#namespace}/${plural}`;
  }
}

function format({ authorities: { current, next, previous }, sessionKey }: Keys) {
  const text = (value: string) => Buffer.from(value).toString('base64');
  return {
    current: text(JSON.stringify(current)),
    ...(next && { next: text(JSON.stringify(next)) }),
    ...(previous !== undefined && { previous: text(previous) }),
    'session.key': sessionKey.toString('base64'),
  };
}

/** Undefined when it is not what we write: then it is made anew. */
function parse(data: Readonly<Record<string, string>>): Keys | undefined {
  const read = (name: string) =>
    data[name] === undefined ? undefined : Buffer.from(data[name], 'base64');
  const current = read('current');
  const sessionKey = read('session.key');
  if (current === undefined || sessionKey?.length !== SESSION_KEY_BYTES) return undefined;
  const next = read('next');
  const authority = (bytes: Buffer) => JSON.parse(bytes.toString('utf8')) as Authority;
  return {
    authorities: {
      current: authority(current),
      next: next && authority(next),
      previous: read('previous')?.toString('utf8'),
    },
    sessionKey,
  };
}
