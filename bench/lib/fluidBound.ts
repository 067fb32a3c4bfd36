/**
 * The shortest time in which a file can reach all nodes, if bytes were a fluid: nothing but the
 * rates of the links counts. PURE.
 */

/** Of 1,500 bytes on a link, so much is a file's: TCP, IP and Ethernet have the rest. */
export const PAYLOAD_SHARE = 0.956;

/** Any unit of bytes per second, the same for all. */
export interface FluidSetup {
  readonly sizeBytes: number;
  readonly originRate: number;
  readonly relayUpRates: readonly number[];
  readonly nodes: readonly { readonly downRate: number; readonly upRate: number }[];
}

export interface FluidBound {
  /** Corrected for headers; the origin may give as much as its link carries. */
  readonly seconds: number;
  /**
   * T1: the origin gives one copy, and that to the relays, which complete after the nodes. What a
   * system can reach that takes no more from the origin.
   */
  readonly oneCopySeconds: number;
}

export function fluidBound({ sizeBytes, originRate, relayUpRates, nodes }: FluidSetup): FluidBound {
  if (nodes.length === 0) throw new Error('a bound needs at least one node');
  const fromOrigin = sizeBytes / originRate;
  const intoNode = sizeBytes / Math.min(...nodes.map(({ downRate }) => downRate));
  const up = sum(relayUpRates) + sum(nodes.map(({ upRate }) => upRate));
  const copies = nodes.length + relayUpRates.length;
  const intoAll = (copies * sizeBytes) / (originRate + up);
  const intoNodes = (nodes.length * sizeBytes) / up;
  return {
    seconds: Math.max(fromOrigin, intoNode, intoAll) / PAYLOAD_SHARE,
    oneCopySeconds: Math.max(fromOrigin, intoNode, intoNodes) / PAYLOAD_SHARE,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
