import { Environment } from '@sluice/protocol/client/environment.ts';
import { type NamespaceShares, parseShares } from './namespaceShares.ts';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export interface AgentConfig {
  readonly controlUrl: URL;
  readonly caFile: string;
  readonly tokenFile: string;
  /** Folder of the node; versions live in `<root>/<namespace>/.sluice/`. */
  readonly root: string;
  readonly bitTorrentPort: number;
  readonly healthPort: number;
  /** Part of the disk that must stay free; no transfer starts that would take it. */
  readonly minFreePercent: number;
  /** Part of the disk that files of one namespace may take. */
  readonly namespaceShares: NamespaceShares;
  /** How often placed files are looked at. */
  readonly checkSeconds: number;
  /** How often all their bytes are hashed again. */
  readonly rehashSeconds: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
}

/** Throws a ConfigurationError that names everything that is wrong. */
export function readConfig(values: Readonly<Record<string, string | undefined>> = process.env) {
  const environment = new Environment(values);
  const config: AgentConfig = {
    controlUrl: environment.httpsUrl('SLUICE_CONTROL_URL'),
    caFile: environment.text('SLUICE_CA_FILE', '/etc/sluice/ca/ca.crt'),
    tokenFile: environment.text('SLUICE_TOKEN_FILE', '/var/run/secrets/sluice/token'),
    root: environment.text('SLUICE_ROOT', '/var/lib/sluice'),
    bitTorrentPort: environment.port('SLUICE_BITTORRENT_PORT', 6881),
    healthPort: environment.port('SLUICE_HEALTH_PORT', 8082),
    minFreePercent: environment.integer('SLUICE_MIN_FREE_PERCENT', 15, { min: 0, max: 90 }),
    namespaceShares: environment.parsed(
      'SLUICE_NAMESPACE_SHARES',
      '*=100%',
      parseShares,
      'set *=SHARE and NAMESPACE=SHARE with commas between, each share from 0% to 100% or in bytes',
    ),
    checkSeconds: environment.integer('SLUICE_CHECK_SECONDS', 60, { min: 1, max: 86_400 }),
    rehashSeconds: environment.integer('SLUICE_REHASH_SECONDS', 604_800, {
      min: 1,
      max: 31_536_000,
    }),
    logLevel: environment.oneOf('SLUICE_LOG_LEVEL', 'info', LOG_LEVELS),
  };
  environment.check();
  return config;
}
