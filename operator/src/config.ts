/** The operator's settings, read from the environment once, with every mistake named at once. */
import { MAX_RATE, parseBytes } from './api/v1alpha1/quantity.ts';
import {
  AgentPod,
  DEFAULT_AGENT_POD,
  DEFAULT_RELAY_POD,
  isCacheComplete,
  parsePod,
  RelayPod,
} from './controllers/fleet/podSettings.ts';
import { sharesInBytes } from './policies/namespaceShares.ts';
import type { RelayBounds } from './policies/relays.ts';

export interface Config {
  readonly namespace: string;
  readonly podName: string;
  readonly podIp: string;
  readonly mongoUri: string;
  readonly relayImage: string;
  /** Where relays let stock BitTorrent clients in; 0: nowhere. */
  readonly relayStockPort: number;
  readonly agentImage: string;
  readonly imagePullPolicy: string;
  /** How long relays stay that nobody needs: they keep what they have pulled. */
  readonly relayIdleSeconds: number;
  /** What all Distributions together may ask for. */
  readonly relayBounds: RelayBounds;
  readonly agentRoot: string;
  /** Part of a node's disk that must stay free. */
  readonly minFreePercent: number;
  /** What files of one namespace may take of a node's disk, as agents are told. */
  readonly namespaceShares: string;
  /** How often agents look at placed files. */
  readonly checkSeconds: number;
  /** How often they hash all their bytes again. */
  readonly rehashSeconds: number;
  readonly controlPort: number;
  readonly metricsPort: number;
  /** Serve only what an Origin covers. */
  readonly requireOrigin: boolean;
  /** For each host that no Origin covers. */
  readonly defaultLimits: {
    readonly maxConnections: number;
    readonly maxBandwidthBytesPerSecond: number;
  };
  readonly logLevel: string;
  readonly relayPod: RelayPod;
  readonly agentPod: AgentPod;
  /** ConfigMap with certificates that origins are trusted by, too; '': none. */
  readonly originCa: string;
  /** What it has the rights to do for the pods that use the files. */
  readonly workloads: { readonly persistentVolumeClaims: boolean; readonly nodeLabels: boolean };
}

export class ConfigError extends Error {
  readonly code = 'InvalidConfig';

  constructor(problems: readonly string[]) {
    super(`the environment is not right:\n  ${problems.join('\n  ')}`);
    this.name = 'ConfigError';
  }
}

/** What a relay listens on already. */
const RELAY_PORTS = [6881, 8081, 8082];
const LOG_LEVELS = ['error', 'warn', 'info', 'debug'];
/** As that of an Origin. */
const MAX_RATE_BYTES = parseBytes(MAX_RATE) ?? 0;
/** Perhaps with a domain before it, as in spec.relays.topologyKey. */
const LABEL_KEY = /^([a-z0-9]([a-z0-9.-]*[a-z0-9])?\/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'];

/** Throws a ConfigError. */
export function parseConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const problems: string[] = [];
  const read = <T>(
    name: string,
    fallback: string | undefined,
    parse: (text: string) => T | undefined,
    remedy: string,
  ): T => {
    const text = environment[name] || fallback;
    const value = text === undefined ? undefined : parse(text);
    if (value === undefined) {
      problems.push(
        text === undefined ? `${name} is not set: ${remedy}` : `${name}='${text}': ${remedy}`,
      );
    }
    return value as T;
  };
  const text = (name: string, fallback?: string) =>
    read(name, fallback, (value) => value, 'give a value');
  const oneOf = (name: string, fallback: string, values: readonly string[]) =>
    read(
      name,
      fallback,
      (value) => (values.includes(value) ? value : undefined),
      `write one of ${values.join(', ')}`,
    );
  const integer = (name: string, fallback: string, most: number, least = 1) =>
    read(
      name,
      fallback,
      (value) =>
        /^[0-9]{1,9}$/.test(value) && +value >= least && +value <= most ? +value : undefined,
      `write a whole number from ${least} to ${most}`,
    );
  const yesOrNo = (name: string, fallback: 'true' | 'false') =>
    oneOf(name, fallback, ['true', 'false']) === 'true';
  const config: Config = {
    namespace: text('SLUICE_NAMESPACE'),
    podName: text('SLUICE_POD_NAME'),
    podIp: text('SLUICE_POD_IP', '127.0.0.1'),
    // Not repeated in a message: it may hold a password.
    mongoUri: read(
      'SLUICE_MONGODB_URI',
      undefined,
      (value) => value,
      'give mongodb://HOST/DATABASE',
    ),
    relayImage: text('SLUICE_RELAY_IMAGE'),
    agentImage: text('SLUICE_AGENT_IMAGE'),
    imagePullPolicy: oneOf('SLUICE_IMAGE_PULL_POLICY', 'IfNotPresent', PULL_POLICIES),
    relayStockPort: read(
      'SLUICE_RELAY_STOCK_PORT',
      '0',
      (value) =>
        /^[0-9]{1,5}$/.test(value) && +value <= 65_535 && !RELAY_PORTS.includes(+value)
          ? +value
          : undefined,
      `write 0, or a port up to 65535 that is none of ${RELAY_PORTS.join(', ')}`,
    ),
    relayIdleSeconds: integer('SLUICE_RELAY_IDLE_SECONDS', '600', 86_400),
    relayBounds: {
      maxRelays: integer('SLUICE_MAX_RELAYS', '256', 10_000),
      maxPerDomain: integer('SLUICE_MAX_RELAYS_PER_DOMAIN', '64', 10_000),
      topologyKeys: read(
        'SLUICE_TOPOLOGY_KEYS',
        '',
        (value) => {
          const keys = value === '' ? [] : value.split(',');
          return keys.every((key) => LABEL_KEY.test(key)) ? keys : undefined;
        },
        'write keys of labels with commas between, such as topology.kubernetes.io/zone, or nothing',
      ),
    },
    agentRoot: read(
      'SLUICE_AGENT_ROOT',
      '/var/lib/sluice',
      (value) => (/^(\/[^/]+)+$/.test(value) && !/\/[.][.]?(\/|$)/.test(value) ? value : undefined),
      'write an absolute path without . and .. as segments, and without a slash at the end',
    ),
    minFreePercent: integer('SLUICE_MIN_FREE_PERCENT', '15', 90, 0),
    namespaceShares: read(
      'SLUICE_NAMESPACE_SHARES',
      '*=100%',
      sharesInBytes,
      'write *=SHARE and NAMESPACE=SHARE with commas between, each share from 0% to 100% or a quantity up to 4Pi, such as 200Gi',
    ),
    checkSeconds: integer('SLUICE_CHECK_SECONDS', '60', 86_400),
    rehashSeconds: integer('SLUICE_REHASH_SECONDS', '604800', 31_536_000),
    controlPort: integer('SLUICE_CONTROL_PORT', '8443', 65_535),
    metricsPort: integer('SLUICE_METRICS_PORT', '8080', 65_535),
    requireOrigin: yesOrNo('SLUICE_REQUIRE_ORIGIN', 'false'),
    workloads: {
      persistentVolumeClaims: yesOrNo('SLUICE_PERSISTENT_VOLUME_CLAIMS', 'true'),
      nodeLabels: yesOrNo('SLUICE_NODE_LABELS', 'false'),
    },
    defaultLimits: {
      maxConnections: integer('SLUICE_DEFAULT_MAX_CONNECTIONS', '8', 10_000),
      maxBandwidthBytesPerSecond: read(
        'SLUICE_DEFAULT_MAX_BANDWIDTH',
        '100Mi',
        (value) => {
          const rate = parseBytes(value) ?? 0;
          return rate >= 1 && rate <= MAX_RATE_BYTES ? rate : undefined;
        },
        `write bytes per second as a quantity from 1 to ${MAX_RATE}, such as 100Mi`,
      ),
    },
    logLevel: oneOf('SLUICE_LOG_LEVEL', 'info', LOG_LEVELS),
    relayPod: read(
      'SLUICE_RELAY_POD',
      JSON.stringify(DEFAULT_RELAY_POD),
      (value) => {
        const pod = parsePod(RelayPod, value, DEFAULT_RELAY_POD);
        return pod !== undefined && isCacheComplete(pod) ? pod : undefined;
      },
      'write JSON of resources, nodeSelector, tolerations, priorityClassName, podAnnotations and cache; a cache.storageClassName needs a cache.size',
    ),
    agentPod: read(
      'SLUICE_AGENT_POD',
      JSON.stringify(DEFAULT_AGENT_POD),
      (value) => parsePod(AgentPod, value, DEFAULT_AGENT_POD),
      'write JSON of resources, nodeSelector, tolerations, priorityClassName, podAnnotations and seLinuxOptions',
    ),
    originCa: environment.SLUICE_ORIGIN_CA ?? '',
  };
  if (problems.length > 0) throw new ConfigError(problems);
  return config;
}

/** What the uninstall hook is told. */
export interface UninstallConfig {
  readonly namespace: string;
  readonly logLevel: string;
}

export function readUninstallConfig(): UninstallConfig {
  const { SLUICE_NAMESPACE: namespace, SLUICE_LOG_LEVEL: logLevel = 'info' } = process.env;
  if (!namespace) throw new ConfigError(['SLUICE_NAMESPACE is not set: give a value']);
  return { namespace, logLevel };
}

export function readConfig(): Config {
  return parseConfig(process.env);
}
