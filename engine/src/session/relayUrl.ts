export interface TopUpRelay {
  readonly id: string;
  readonly host: string;
  readonly httpPort: number;
}

/** A resource of one swarm (hex id) at a relay. */
export function relayUrl(relay: TopUpRelay, swarmId: string, resource: string): URL {
  const host = relay.host.includes(':') ? `[${relay.host}]` : relay.host;
  return new URL(`http://${host}:${relay.httpPort}/v1/swarms/${swarmId}/${resource}`);
}
