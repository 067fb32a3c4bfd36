/**
 * The custom resource `Origin`: how much this cluster may take from a server, all relays and
 * nodes together. The CRD is generated from these schemas, the types are derived from them.
 */
import { type Static, Type } from '@sinclair/typebox';
import { ByteCount, Conditions, Duration, Rate, refuse, rules } from './fields.ts';
import type { ObjectMeta } from './objectMeta.ts';

const Limits = Type.Object(
  {
    maxConnections: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        description:
          'Connections open at the same time. Absent: the default of the operator (operator.defaultLimits).',
      }),
    ),
    maxBandwidth: Type.Optional(
      Rate(
        'spec.limits.maxBandwidth',
        'Bytes in any one second, headers included. Absent: the default of the operator (operator.defaultLimits).',
      ),
    ),
    maxTraffic: Type.Optional(
      Type.Object(
        {
          bytes: ByteCount('spec.limits.maxTraffic.bytes', 'Bytes in a period.'),
          period: Duration('spec.limits.maxTraffic.period', '1h', '8784h', {
            description: 'Length of a period; periods begin at multiples of it, in UTC.',
          }),
        },
        { description: 'Absent: no limit of bytes.' },
      ),
    ),
  },
  { default: {}, description: 'What is never exceeded, whatever crashes.' },
);

const OriginSpec = Type.Object({
  hosts: Type.Array(
    Type.String({
      minLength: 1,
      maxLength: 253,
      ...rules(
        refuse(
          "self.matches('^([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[[][0-9a-f:.]+[]])(:[0-9]{1,5})?$')",
          'spec.hosts',
          'is not a host; write a lower-case name or address, with :PORT if only that port is meant, without https:// and without a path',
        ),
      ),
    }),
    {
      minItems: 1,
      maxItems: 64,
      'x-kubernetes-list-type': 'set',
      description:
        'Hosts whose URLs these limits cover, together. HOST covers every port of it that no other Origin names as HOST:PORT.',
    },
  ),
  limits: Limits,
  closeAfter: Duration('spec.closeAfter', '1s', '24h', {
    default: '120s',
    description:
      'The longest idle or send timeout of the server. After a node was lost, its connections count for so long.',
  }),
  allowPrivateAddresses: Type.Boolean({
    default: false,
    description:
      'true lets the hosts resolve to private addresses (10/8, 172.16/12, 192.168/16, fc00::/7). Loopback and link-local ones stay refused.',
  }),
  allowAgentCredentials: Type.Boolean({
    default: false,
    description:
      'true gives the credentials of spec.source.secretRef to the agents too, so that nodes of such Distributions can top up from the origin. Otherwise only relays have them.',
  }),
});

const OriginStatus = Type.Object({
  observedGeneration: Type.Integer({ default: -1 }),
  conditions: Type.Optional(Conditions),
  usage: Type.Optional(
    Type.Object(
      {
        connections: Type.Integer({ minimum: 0 }),
        rateBytesPerSecond: Type.Integer({ minimum: 0 }),
        trafficBytes: Type.Integer({ minimum: 0 }),
        periodStart: Type.Optional(Type.String({ format: 'date-time', maxLength: 64 })),
      },
      { description: 'What is leased now, and the bytes charged in this period.' },
    ),
  ),
  summary: Type.Optional(
    Type.Object(
      {
        connections: Type.String({ maxLength: 64 }),
        bandwidth: Type.String({ maxLength: 64 }),
        traffic: Type.String({ maxLength: 64 }),
      },
      { description: 'For the columns of kubectl get.' },
    ),
  ),
});

export const OriginSchema = Type.Object(
  {
    spec: OriginSpec,
    status: Type.Optional({ ...OriginStatus, default: { observedGeneration: -1 } }),
  },
  { description: 'Origin bounds what the cluster takes from a server that has files.' },
);

export type OriginSpec = Static<typeof OriginSpec>;
export type OriginStatus = Static<typeof OriginStatus>;

/** As read from the API server: defaults are filled in. */
export interface Origin {
  readonly apiVersion: 'sluice.dev/v1alpha1';
  readonly kind: 'Origin';
  readonly metadata: ObjectMeta;
  readonly spec: OriginSpec;
  readonly status?: OriginStatus;
}
