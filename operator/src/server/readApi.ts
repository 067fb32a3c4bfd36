/**
 * The read side of the control API, for people and their tools: every node of a distribution, where
 * the status of the resource holds only sums. Who may `get` the Distribution may read it.
 */
import express, { type Request, type Router } from 'express';
import { isKubeError, type KubeClient } from '../kube/client.ts';
import type { Coordinator } from './coordinator.ts';
import type { DistributionView } from './distributionView.ts';
import { ApiRefusal } from './refusal.ts';
import { fetchTorrent } from './torrents.ts';

export interface ReadApiDependencies {
  readonly coordinator: Coordinator;
  readonly client: Pick<KubeClient, 'request'>;
  readonly bearerOf: (request: Request) => string;
}

interface Review {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly allowed?: boolean;
    readonly user?: {
      readonly username?: string;
      readonly uid?: string;
      readonly groups?: readonly string[];
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

const REVIEW_TIMEOUT_MS = 10_000;
const TORRENT_TIMEOUT_MS = 10_000;
const DEFAULT_LIMIT = 500;
const MAX_LIMIT = 1_000;

export function newReadApi({ coordinator, client, bearerOf }: ReadApiDependencies): Router {
  const router = express.Router();

  router.get('/:uid', async (request, response) => {
    const { nodes, ...view } = await allowed(request);
    response.json({ ...view, nodes: nodes.length });
  });

  /** Pages of nodes in the order of their names; `continue` is the last name of the page before. */
  router.get('/:uid/assignments', async (request, response) => {
    const view = await allowed(request);
    const limit = limitOf(request.query.limit);
    const after = String(request.query.continue ?? '');
    const rest = [...view.nodes]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .filter(({ name }) => name > after);
    const items = rest.slice(0, limit);
    const last = items.at(-1);
    const more = rest.length > items.length && last !== undefined;
    response.json({ epoch: view.epoch, items, ...(more && { continue: last.name }) });
  });

  /** The finished set, for ordinary BitTorrent clients. */
  router.get('/:uid/torrent', async (request, response) => {
    const { uid, name } = await allowed(request);
    const source = coordinator.torrentSource(uid);
    if (source === undefined) throw new ApiRefusal(503, 'NoTorrent', 'it is not served now');
    const torrent = await fetchTorrent(source, AbortSignal.timeout(TORRENT_TIMEOUT_MS));
    response.attachment(`${name}.torrent`).type('application/x-bittorrent').send(torrent);
  });

  async function allowed(request: Request): Promise<DistributionView> {
    const signal = AbortSignal.timeout(REVIEW_TIMEOUT_MS);
    const user = await userOf(bearerOf(request), signal);
    const view = coordinator.view(String(request.params.uid));
    // Whether there is one, only those may know who may see it.
    const isAllowed = view !== undefined && (await mayGet(user, view, signal));
    if (view !== undefined && isAllowed) return view;
    const message = 'there is no distribution of this uid that you may get';
    throw new ApiRefusal(404, 'NotFound', message);
  }

  async function userOf(token: string, signal: AbortSignal) {
    const review = await ask('authentication.k8s.io', 'TokenReview', { token }, signal);
    const { authenticated = false, user } = review.status ?? {};
    if (authenticated && user?.username !== undefined) return user;
    throw new ApiRefusal(401, 'Unauthenticated', 'the token is not known to this cluster');
  }

  async function mayGet(
    { username, uid, groups, extra }: NonNullable<NonNullable<Review['status']>['user']>,
    { namespace, name }: DistributionView,
    signal: AbortSignal,
  ): Promise<boolean> {
    const resourceAttributes = {
      group: 'sluice.dev',
      resource: 'distributions',
      verb: 'get',
      namespace,
      name,
    };
    const spec = { user: username, uid, groups, extra, resourceAttributes };
    const review = await ask('authorization.k8s.io', 'SubjectAccessReview', spec, signal);
    return review.status?.allowed === true;
  }

  async function ask(
    group: 'authentication.k8s.io' | 'authorization.k8s.io',
    kind: 'TokenReview' | 'SubjectAccessReview',
    spec: object,
    signal: AbortSignal,
  ): Promise<Review> {
    try {
      return await client.request<Review>({
        method: 'POST',
        path: `/apis/${group}/v1/${kind.toLowerCase()}s`,
        body: { apiVersion: `${group}/v1`, kind, spec },
        signal,
      });
    } catch (error) {
      if (!isKubeError(error)) throw error;
      throw new ApiRefusal(503, 'Unavailable', 'the API server cannot say who you are now');
    }
  }

  return router;
}

function limitOf(value: unknown): number {
  if (value === undefined) return DEFAULT_LIMIT;
  const limit = Number(value);
  if (Number.isInteger(limit) && limit >= 1 && limit <= MAX_LIMIT) return limit;
  throw new ApiRefusal(
    400,
    'InvalidLimit',
    `limit='${String(value).slice(0, 20)}': write a number from 1 to ${MAX_LIMIT}`,
  );
}
