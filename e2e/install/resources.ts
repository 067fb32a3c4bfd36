/** Origins and Distributions as the user writes them. */

export interface OriginLimits {
  readonly maxConnections: number;
  /** Bytes per second. */
  readonly maxBandwidth: number;
  readonly maxTraffic: { readonly bytes: number; readonly period: string };
}

/**
 * `closeAfter`: the test origin closes what is closed; idle connections it keeps for five minutes
 * if nobody tells it otherwise.
 */
export function originResource(
  name: string,
  host: string,
  limits: OriginLimits,
  closeAfter = '5s',
): object {
  const { maxConnections, maxBandwidth, maxTraffic } = limits;
  return {
    apiVersion: 'sluice.dev/v1alpha1',
    kind: 'Origin',
    metadata: { name },
    spec: {
      hosts: [host],
      limits: {
        maxConnections,
        maxBandwidth: String(maxBandwidth),
        maxTraffic: { bytes: String(maxTraffic.bytes), period: maxTraffic.period },
      },
      closeAfter,
      // The origin of the test cluster is on the cluster's own network.
      allowPrivateAddresses: true,
    },
  };
}

export interface DistributionOptions {
  readonly name: string;
  readonly namespace?: string;
  readonly url: string;
  /** Hexadecimal SHA-256. */
  readonly sha256?: string;
  readonly spec?: Readonly<Record<string, unknown>>;
}

export function distributionResource(options: DistributionOptions): object {
  const { name, namespace = 'default', url, sha256, spec } = options;
  return {
    apiVersion: 'sluice.dev/v1alpha1',
    kind: 'Distribution',
    metadata: { name, namespace },
    spec: {
      source: { url, ...(sha256 !== undefined && { digest: `sha256:${sha256}` }) },
      target: { path: name },
      // The next test is not to find what the one before has left.
      deletionGraceSeconds: 0,
      ...spec,
    },
  };
}
