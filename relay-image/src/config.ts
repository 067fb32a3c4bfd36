import { Environment } from '@sluice/protocol/client/environment.ts';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export interface RelayConfig {
  readonly controlUrl: URL;
  readonly caFile: string;
  readonly tokenFile: string;
  /** Folder that this process alone uses; what it does not know there is deleted. */
  readonly cacheFolder: string;
  /** Part of its file system that must stay free: the kubelet evicts pods where too little is. */
  readonly minFreePercent: number;
  /** All that it may take; 0: as much as there is. */
  readonly maxCacheBytes: number;
  readonly bitTorrentPort: number;
  /** Where stock BitTorrent clients come in; undefined: nowhere. */
  readonly stockPort: number | undefined;
  readonly httpPort: number;
  readonly healthPort: number;
  readonly logLevel: (typeof LOG_LEVELS)[number];
}

/** Throws a ConfigurationError that names everything that is wrong. */
export function readConfig(values: Readonly<Record<string, string | undefined>> = process.env) {
  const environment = new Environment(values);
  const config: RelayConfig = {
    controlUrl: environment.httpsUrl('SLUICE_CONTROL_URL'),
    caFile: environment.text('SLUICE_CA_FILE', '/etc/sluice/ca/ca.crt'),
    tokenFile: environment.text('SLUICE_TOKEN_FILE', '/var/run/secrets/sluice/token'),
    cacheFolder: environment.text('SLUICE_CACHE', '/var/cache/sluice'),
    minFreePercent: environment.integer('SLUICE_MIN_FREE_PERCENT', 15, { min: 0, max: 90 }),
    maxCacheBytes: environment.integer('SLUICE_CACHE_BYTES', 0, {
      min: 0,
      max: Number.MAX_SAFE_INTEGER,
    }),
    bitTorrentPort: environment.port('SLUICE_BITTORRENT_PORT', 6881),
    stockPort: environment.portOrOff('SLUICE_STOCK_PORT'),
    httpPort: environment.port('SLUICE_HTTP_PORT', 8081),
    healthPort: environment.port('SLUICE_HEALTH_PORT', 8082),
    logLevel: environment.oneOf('SLUICE_LOG_LEVEL', 'info', LOG_LEVELS),
  };
  environment.check();
  return config;
}
