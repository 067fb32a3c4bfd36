/**
 * The shortest time in which a file can reach all nodes, if bytes were a fluid: nothing but the
 * links' and the origin's rates counts.
 */
export interface FluidSetup {
  readonly sizeBytes: number;
  readonly nodes: number;
  /** Bytes per second that the origin may give. */
  readonly originRate: number;
  /** Bytes per second of each node's link, each way. Relays share the links of their nodes. */
  readonly linkRate: number;
}

/** Of 1,500 bytes on the link, so much is a file's: TCP, IP and Ethernet have the rest. */
export const PAYLOAD_SHARE = 0.956;

/** Seconds, corrected for headers. */
export function fluidBoundSeconds({ sizeBytes, nodes, originRate, linkRate }: FluidSetup): number {
  const fromOrigin = sizeBytes / originRate;
  const intoNode = sizeBytes / linkRate;
  // A relay passes on what it pulled over the link of its node; its own copy is that node's.
  const intoAll = (nodes * sizeBytes) / (originRate + nodes * linkRate);
  // The origin's limit counts payload and HTTP headers; the links carry all headers.
  return Math.max(fromOrigin, intoNode / PAYLOAD_SHARE, intoAll / PAYLOAD_SHARE);
}
