/** The relays' Deployments and the agents' DaemonSet, from fixed templates. */
import { createHash } from 'node:crypto';
import { parseBytes } from '../../api/v1alpha1/quantity.ts';
import type { AppliedObject } from '../../kube/apply.ts';
import { DEFAULT_DOMAIN } from '../../policies/nodes.ts';
import type { RelayBounds, RelayNeed } from '../../policies/relays.ts';
import {
  type AgentPod,
  cacheVolume,
  placing,
  podAnnotations,
  type RelayPod,
  relayResources,
} from './podSettings.ts';

export interface FleetOptions {
  /** How long relays stay that nobody needs. */
  readonly relayIdleSeconds: number;
  /** See Config. */
  readonly relayBounds: RelayBounds;
  /** The operator's own: all of Sluice runs here. */
  readonly namespace: string;
  readonly relayImage: string;
  /** Where relays let stock BitTorrent clients in; 0: nowhere. */
  readonly relayStockPort: number;
  readonly agentImage: string;
  readonly imagePullPolicy: string;
  /** Folder on the nodes. */
  readonly agentRoot: string;
  /** See Config. */
  readonly minFreePercent: number;
  /** See Config. */
  readonly namespaceShares: string;
  /** See Config. */
  readonly checkSeconds: number;
  /** See Config. */
  readonly rehashSeconds: number;
  readonly controlPort: number;
  readonly logLevel: string;
  readonly relayPod: RelayPod;
  readonly agentPod: AgentPod;
  /** ConfigMap whose ca.crt has certificates that origins are trusted by, too; '': none. */
  readonly originCa: string;
}

/** The operator's own Deployment, in the same namespace: what it made goes with it. */
export interface Owner {
  readonly name: string;
  readonly uid: string;
}

export const MANAGED_LABELS = {
  'app.kubernetes.io/name': 'sluice',
  'app.kubernetes.io/managed-by': 'sluice-operator',
} as const;
export const DOMAIN_LABEL = 'sluice.dev/domain';
/** Uid of the only distribution that a relay serves. */
export const DEDICATED_LABEL = 'sluice.dev/dedicated-to';
export const TOPOLOGY_KEY_ANNOTATION = 'sluice.dev/topology-key';
export const AGENT_NAME = 'sluice-agent';

const BITTORRENT_PORT = 6881;
const RELAY_HTTP_PORT = 8081;
const HEALTH_PORT = 8082;
const RELAY_CACHE = '/var/cache/sluice';
const CA_FOLDER = '/etc/sluice/ca';
const ORIGIN_CA_FOLDER = '/etc/sluice/origin-ca';
const TOKEN_FOLDER = '/var/run/secrets/sluice';
const TOKEN_SECONDS = 3600;
/** Of the user `node` in no image: any number that is not 0 does. */
const RELAY_UID = 65532;

/** One name for each domain and owner, however long the label's key and value are. */
export function relayName({
  topologyKey,
  domain,
  dedicatedTo,
}: Pick<RelayNeed, 'topologyKey' | 'domain' | 'dedicatedTo'>): string {
  const facts = [topologyKey, domain, ...(dedicatedTo === undefined ? [] : [dedicatedTo])];
  const hash = createHash('sha256').update(facts.join('\n')).digest('hex').slice(0, 8);
  const readable = domain
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 30);
  return ['sluice-relay', readable, hash].filter((part) => part !== '').join('-');
}

export function relayDeployment(
  options: FleetOptions,
  owner: Owner | undefined,
  need: RelayNeed,
): AppliedObject {
  const { topologyKey, domain, replicas, dedicatedTo } = need;
  const name = relayName(need);
  const { relayPod, relayStockPort: stockPort } = options;
  const labels = {
    ...componentLabels('relay', domain),
    ...(dedicatedTo !== undefined && { [DEDICATED_LABEL]: dedicatedTo }),
  };
  const selector = relaySelector(name);
  return {
    metadata: {
      ...metadata(options, owner, name, labels),
      annotations: { [TOPOLOGY_KEY_ANNOTATION]: topologyKey },
    },
    spec: {
      replicas,
      revisionHistoryLimit: 2,
      selector: { matchLabels: selector },
      // One after the other, each when the one that takes its place serves already.
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      template: {
        metadata: {
          labels: { ...labels, ...selector },
          annotations: podAnnotations(relayPod, HEALTH_PORT),
        },
        spec: {
          ...placing(relayPod),
          serviceAccountName: 'sluice-relay',
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          // What it alone has it gives away first, for 20 s at most: relay-image/src/main.ts.
          terminationGracePeriodSeconds: 30,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: RELAY_UID,
            runAsGroup: RELAY_UID,
            fsGroup: RELAY_UID,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          affinity: {
            nodeAffinity: inDomain(topologyKey, domain),
            podAntiAffinity: apart(selector),
          },
          containers: [
            {
              name: 'relay',
              image: options.relayImage,
              imagePullPolicy: options.imagePullPolicy,
              env: environment(options, {
                SLUICE_CACHE: RELAY_CACHE,
                ...cacheBounds(options),
                SLUICE_HTTP_PORT: String(RELAY_HTTP_PORT),
                ...(stockPort > 0 && { SLUICE_STOCK_PORT: String(stockPort) }),
              }),
              ports: [
                { name: 'bittorrent', containerPort: BITTORRENT_PORT, protocol: 'TCP' },
                { name: 'http', containerPort: RELAY_HTTP_PORT, protocol: 'TCP' },
                ...(stockPort > 0
                  ? [{ name: 'stock', containerPort: stockPort, protocol: 'TCP' }]
                  : []),
                { name: 'health', containerPort: HEALTH_PORT, protocol: 'TCP' },
              ],
              ...probes(),
              resources: relayResources(relayPod),
              securityContext: restrictedContainer(),
              volumeMounts: [...mounts(options), { name: 'cache', mountPath: RELAY_CACHE }],
            },
          ],
          volumes: [...volumes(options), { name: 'cache', ...cacheVolume(relayPod) }],
        },
      },
    },
  };
}

/**
 * A drain takes the relays of a domain one after the other; one that serves nobody must not stop it.
 * It is the Deployment's and goes with it; `uid` is the Deployment's.
 */
export function relayDisruptionBudget(
  options: FleetOptions,
  need: RelayNeed,
  uid: string,
): AppliedObject {
  const { namespace } = options;
  const name = relayName(need);
  const owner = { apiVersion: 'apps/v1', kind: 'Deployment', name, uid };
  const labels = componentLabels('relay', need.domain);
  return {
    metadata: { namespace, name, labels, ownerReferences: [owner] },
    spec: {
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: relaySelector(name) },
    },
  };
}

function relaySelector(name: string): Record<string, string> {
  return {
    'app.kubernetes.io/name': 'sluice',
    'app.kubernetes.io/component': 'relay',
    'sluice.dev/relay': name,
  };
}

export function agentDaemonSet(options: FleetOptions, owner: Owner | undefined): AppliedObject {
  const { agentPod } = options;
  const labels = componentLabels('agent');
  const selector = {
    'app.kubernetes.io/name': 'sluice',
    'app.kubernetes.io/component': 'agent',
  };
  return {
    metadata: metadata(options, owner, AGENT_NAME, labels),
    spec: {
      revisionHistoryLimit: 2,
      selector: { matchLabels: selector },
      updateStrategy: {
        type: 'RollingUpdate',
        rollingUpdate: { maxUnavailable: '10%', maxSurge: 0 },
      },
      template: {
        metadata: { labels, annotations: podAnnotations(agentPod, HEALTH_PORT) },
        spec: {
          ...placing(agentPod),
          serviceAccountName: AGENT_NAME,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 10,
          // Host folders belong to root; it has none of root's capabilities.
          securityContext: {
            runAsUser: 0,
            runAsGroup: 0,
            seccompProfile: { type: 'RuntimeDefault' },
            ...(agentPod.seLinuxOptions && { seLinuxOptions: agentPod.seLinuxOptions }),
          },
          containers: [
            {
              name: 'agent',
              image: options.agentImage,
              imagePullPolicy: options.imagePullPolicy,
              env: environment(options, {
                SLUICE_ROOT: options.agentRoot,
                SLUICE_MIN_FREE_PERCENT: String(options.minFreePercent),
                SLUICE_NAMESPACE_SHARES: options.namespaceShares,
                SLUICE_CHECK_SECONDS: String(options.checkSeconds),
                SLUICE_REHASH_SECONDS: String(options.rehashSeconds),
              }),
              ports: [
                { name: 'bittorrent', containerPort: BITTORRENT_PORT, protocol: 'TCP' },
                { name: 'health', containerPort: HEALTH_PORT, protocol: 'TCP' },
              ],
              ...probes(),
              resources: agentPod.resources ?? {},
              securityContext: restrictedContainer(),
              volumeMounts: [...mounts(options), { name: 'root', mountPath: options.agentRoot }],
            },
          ],
          volumes: [
            ...volumes(options),
            { name: 'root', hostPath: { path: options.agentRoot, type: 'DirectoryOrCreate' } },
          ],
        },
      },
    },
  };
}

function componentLabels(component: 'relay' | 'agent', domain?: string): Record<string, string> {
  return {
    ...MANAGED_LABELS,
    'app.kubernetes.io/component': component,
    ...(domain !== undefined && { [DOMAIN_LABEL]: domain }),
  };
}

function metadata(
  options: FleetOptions,
  owner: Owner | undefined,
  name: string,
  labels: Record<string, string>,
): AppliedObject['metadata'] {
  const { namespace } = options;
  if (owner === undefined) return { namespace, name, labels };
  const reference = { apiVersion: 'apps/v1', kind: 'Deployment', ...owner };
  return { namespace, name, labels, ownerReferences: [reference] };
}

/** The nodes that policies/nodes.ts counts to the domain; of several terms one has to hold. */
function inDomain(topologyKey: string, domain: string): object {
  const isOneOf = (...values: string[]) => ({ key: topologyKey, operator: 'In', values });
  const inside =
    domain === DEFAULT_DOMAIN
      ? [{ key: topologyKey, operator: 'DoesNotExist' }, isOneOf(DEFAULT_DOMAIN, '')]
      : [isOneOf(domain)];
  const linux = { key: 'kubernetes.io/os', operator: 'In', values: ['linux'] };
  return {
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: inside.map((each) => ({ matchExpressions: [each, linux] })),
    },
  };
}

/** Relays of a domain on different nodes, where there are: each brings its node's link. */
function apart(selector: Record<string, string>): object {
  const podAffinityTerm = {
    labelSelector: { matchLabels: selector },
    topologyKey: 'kubernetes.io/hostname',
  };
  return { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm }] };
}

function environment(options: FleetOptions, more: Record<string, string>): object[] {
  const values: Record<string, string> = {
    SLUICE_CONTROL_URL: `https://sluice-control.${options.namespace}.svc:${options.controlPort}`,
    SLUICE_CA_FILE: `${CA_FOLDER}/ca.crt`,
    SLUICE_TOKEN_FILE: `${TOKEN_FOLDER}/token`,
    SLUICE_BITTORRENT_PORT: String(BITTORRENT_PORT),
    SLUICE_HEALTH_PORT: String(HEALTH_PORT),
    SLUICE_LOG_LEVEL: options.logLevel,
    ...(options.originCa && { NODE_EXTRA_CA_CERTS: `${ORIGIN_CA_FOLDER}/ca.crt` }),
    ...more,
  };
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

/**
 * Of an emptyDir: its limit, and the part of the node's disk that agents leave free, too; the kubelet
 * evicts pods where either is not kept. A volume of its own may be filled.
 */
function cacheBounds({ relayPod: { cache }, minFreePercent }: FleetOptions) {
  if (cache?.storageClassName) return { SLUICE_MIN_FREE_PERCENT: '0' };
  const bytes = cache?.size ? parseBytes(cache.size) : undefined;
  return {
    SLUICE_MIN_FREE_PERCENT: String(minFreePercent),
    ...(bytes !== undefined && { SLUICE_CACHE_BYTES: String(bytes) }),
  };
}

/** Ready within a second of being so: a relay that is not Ready counts as none. */
function probes(): object {
  const probe = (path: string) => ({ httpGet: { path, port: 'health' }, timeoutSeconds: 5 });
  return {
    startupProbe: { ...probe('/healthz'), periodSeconds: 1, failureThreshold: 60 },
    livenessProbe: { ...probe('/healthz'), periodSeconds: 10, failureThreshold: 6 },
    readinessProbe: { ...probe('/readyz'), periodSeconds: 1, failureThreshold: 5 },
  };
}

function restrictedContainer(): object {
  return {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  };
}

function mounts({ originCa }: FleetOptions): object[] {
  return [
    { name: 'ca', mountPath: CA_FOLDER, readOnly: true },
    { name: 'token', mountPath: TOKEN_FOLDER, readOnly: true },
    ...(originCa ? [{ name: 'origin-ca', mountPath: ORIGIN_CA_FOLDER, readOnly: true }] : []),
  ];
}

function volumes({ originCa }: FleetOptions): object[] {
  const serviceAccountToken = {
    audience: 'sluice',
    expirationSeconds: TOKEN_SECONDS,
    path: 'token',
  };
  return [
    { name: 'ca', configMap: { name: 'sluice-ca' } },
    { name: 'token', projected: { sources: [{ serviceAccountToken }] } },
    ...(originCa ? [{ name: 'origin-ca', configMap: { name: originCa } }] : []),
  ];
}
