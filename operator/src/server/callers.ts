/** Who calls: what the API server says of a token, and what is known of the pod behind it. */
import type { Clock } from '@sluice/engine/ports/clock.ts';
import { type ProcessKind, TOKEN_AUDIENCE } from '@sluice/protocol/messages.ts';
import { sleep } from '@sluice/protocol/sleep.ts';
import { DEDICATED_LABEL, DOMAIN_LABEL } from '../controllers/fleet/manifests.ts';
import type { KubeClient } from '../kube/client.ts';
import { objectPath, resources } from '../kube/paths.ts';
import type { KubeObject } from '../kube/reflector.ts';
import { Admission } from './admission.ts';
import { ApiRefusal } from './refusal.ts';

export interface PodObject extends KubeObject {
  readonly metadata: KubeObject['metadata'] & {
    readonly labels?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly kind: string; readonly controller?: boolean }[];
    readonly deletionTimestamp?: string;
  };
  readonly spec?: { readonly nodeName?: string };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly containerStatuses?: readonly {
      readonly image?: string;
      readonly state?: {
        readonly terminated?: object;
        readonly running?: object;
        readonly waiting?: { readonly reason?: string; readonly message?: string };
      };
    }[];
  };
}

/** The pod that a relay's or an agent's token is of. */
export interface Caller {
  readonly pod: string;
  readonly podUid: string;
  readonly node: string;
  /** Of the node's object when the token was made; undefined: Kubernetes did not say. */
  readonly nodeUid?: string | undefined;
  readonly address: string;
  readonly domain: string | undefined;
  readonly dedicatedTo?: string | undefined;
}

interface TokenReview {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly user?: {
      readonly username?: string;
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

export interface CallerDependencies {
  readonly client: Pick<KubeClient, 'request'>;
  readonly clock: Clock;
  /** Those of the fleet that are watched, by `namespace/name`. */
  readonly pods?: { get(key: string): PodObject | undefined };
}

export interface CallerOptions {
  readonly namespace: string;
}

const ACCOUNTS: Readonly<Record<ProcessKind, string>> = {
  relay: 'sluice-relay',
  agent: 'sluice-agent',
};
const OWNERS: Readonly<Record<ProcessKind, string>> = { relay: 'ReplicaSet', agent: 'DaemonSet' };
/** A pod may call before its kubelet has told its address. */
const ADDRESS_ATTEMPTS = 25;
const ADDRESS_WAIT_MS = 200;
/** What is watched may be late: the API server itself is asked again, but seldom. */
const ASK_EVERY_ATTEMPTS = 5;

export class Callers {
  readonly #options: CallerOptions;
  readonly #deps: CallerDependencies;
  readonly #admission: Admission;

  constructor(options: CallerOptions, dependencies: CallerDependencies) {
    this.#options = options;
    this.#deps = dependencies;
    this.#admission = new Admission(dependencies.clock);
  }

  /** Throws an ApiRefusal for a token that is not of one of our pods of that kind. */
  async identify(token: string, kind: ProcessKind, signal: AbortSignal): Promise<Caller> {
    const { pod, podUid, node, nodeUid } = await this.#admission.run(() =>
      this.#review(token, kind, signal),
    );
    const { address, domain, dedicatedTo } = await this.#podOf(kind, pod, podUid, signal);
    return { pod, podUid, node, nodeUid, address, domain, dedicatedTo };
  }

  async #review(token: string, kind: ProcessKind, signal: AbortSignal) {
    const review = await this.#deps.client.request<TokenReview>({
      method: 'POST',
      path: '/apis/authentication.k8s.io/v1/tokenreviews',
      body: {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences: [TOKEN_AUDIENCE] },
      },
      signal,
    });
    const { authenticated = false, user } = review.status ?? {};
    const { namespace } = this.#options;
    const account = `system:serviceaccount:${namespace}:${ACCOUNTS[kind]}`;
    if (!authenticated || user?.username !== account) {
      throw new ApiRefusal(401, 'Unauthenticated', `the token is not one of ${account}`);
    }
    const fact = (name: string) => user.extra?.[`authentication.kubernetes.io/${name}`]?.[0];
    const pod = fact('pod-name');
    const podUid = fact('pod-uid');
    const node = fact('node-name');
    if (pod === undefined || podUid === undefined || node === undefined) {
      const message = 'the token names no pod and node: Kubernetes 1.32 or later is needed';
      throw new ApiRefusal(401, 'Unauthenticated', message);
    }
    return { pod, podUid, node, nodeUid: fact('node-uid') };
  }

  async #podOf(kind: ProcessKind, name: string, uid: string, signal: AbortSignal) {
    const { namespace } = this.#options;
    const path = objectPath(resources.pods, { namespace, name });
    const { client, clock, pods } = this.#deps;
    for (let attempt = 0; attempt < ADDRESS_ATTEMPTS; attempt += 1) {
      if (attempt > 0) await sleep(clock, ADDRESS_WAIT_MS, signal);
      const watched = pods?.get(`${namespace}/${name}`);
      const isEnough = watched?.metadata.uid === uid && watched.status?.podIP !== undefined;
      if (!isEnough && attempt % ASK_EVERY_ATTEMPTS > 0) continue;
      const asked = { method: 'GET', path, signal } as const;
      const pod = isEnough ? watched : await client.request<PodObject>(asked);
      const { metadata, status } = pod;
      const isOurs = metadata.ownerReferences?.some(
        (owner) => owner.controller === true && owner.kind === OWNERS[kind],
      );
      if (metadata.uid !== uid || isOurs !== true) {
        throw new ApiRefusal(403, 'Forbidden', `pod ${name} was not made by the operator`);
      }
      if (status?.podIP) {
        const { [DOMAIN_LABEL]: domain, [DEDICATED_LABEL]: dedicatedTo } = metadata.labels ?? {};
        return { address: status.podIP, domain, dedicatedTo };
      }
    }
    throw new ApiRefusal(503, 'NotReady', `pod ${name} has no address yet`);
  }
}
