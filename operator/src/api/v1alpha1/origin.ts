/**
 * The custom resource `Origin`: how much this cluster may take from a server, all relays and
 * nodes together. The CRD is generated from these schemas, the types are derived from them.
 */
import { type Static, Type } from '@sinclair/typebox';
import { DAY_NAMES } from './days.ts';
import {
  ByteCount,
  Conditions,
  Duration,
  MAX_PRIORITY,
  observedGeneration,
  Priority,
  Rate,
  refuse,
  rules,
} from './fields.ts';
import { IPV4, NUMBER, PORT } from './hosts.ts';
import type { ObjectMeta } from './objectMeta.ts';
import { OriginJournals } from './originJournals.ts';

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

const HoursText = (field: string, description: string, pattern: string, remedy: string) =>
  Type.String({
    minLength: 5,
    maxLength: 5,
    description,
    ...rules(refuse(`self.matches('^(${pattern})$')`, field, remedy)),
  });

const Schedule = Type.Array(
  Type.Object(
    {
      days: Type.Array(Type.Union(DAY_NAMES.map((name) => Type.Literal(name))), {
        minItems: 1,
        maxItems: 7,
        default: [...DAY_NAMES],
        'x-kubernetes-list-type': 'set',
        description: 'Days on which the window begins.',
      }),
      from: HoursText(
        'spec.schedule.from',
        'When it begins, by the clock of timeZone.',
        '([01][0-9]|2[0-3]):[0-5][0-9]',
        'is not a time of the day; write hours and minutes such as 08:00, up to 23:59',
      ),
      to: HoursText(
        'spec.schedule.to',
        'When it ends; not later than `from`: on the next day.',
        '([01][0-9]|2[0-3]):[0-5][0-9]|24:00',
        'is not a time of the day; write hours and minutes such as 20:00, up to 24:00',
      ),
      timeZone: Type.String({
        default: 'UTC',
        minLength: 1,
        maxLength: 64,
        description: 'A name of the IANA time zone database, such as Europe/Berlin.',
        ...rules(
          refuse(
            "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$')",
            'spec.schedule.timeZone',
            'is not a time zone; write a name of the IANA database such as Europe/Berlin or UTC',
          ),
        ),
      }),
      limits: Type.Object(
        {
          maxConnections: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 10_000,
              description: 'Absent: as in spec.limits.',
            }),
          ),
          maxBandwidth: Type.Optional(
            Rate('spec.schedule.limits.maxBandwidth', 'Absent: as in spec.limits.'),
          ),
        },
        {
          description: 'What holds instead, lower or higher. Where windows overlap, the lowest.',
          ...rules({
            rule: 'has(self.maxConnections) || has(self.maxBandwidth)',
            message:
              'spec.schedule.limits: names no limit; write maxConnections, maxBandwidth or both',
          }),
        },
      ),
    },
    { description: 'A window with limits of its own.' },
  ),
  {
    maxItems: 32,
    default: [],
    'x-kubernetes-list-type': 'atomic',
    description:
      'Windows by days, hours and time zone with limits of their own. Around a boundary the lower limits hold.',
  },
);

const OriginSpec = Type.Object({
  hosts: Type.Array(
    Type.String({
      minLength: 1,
      maxLength: 512,
      ...rules(
        refuse(
          "self.matches('^([a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[[][0-9a-f:.]+[]])(:[0-9]+)?(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?$')",
          'spec.hosts',
          'is not a host; write a lower-case name or address, with :PORT if only that port is meant and /PREFIX if only paths under it are, without https://, and letters, digits and ._~- in the prefix, where no segment may begin with a dot',
        ),
        // Hosts are compared as text: in another form than that of URLs they would never match.
        refuse(
          `!self.matches('^[^/[]*[.][.]') && (self.matches('^${IPV4}([:/]|$)') || !self.matches('^([^/:[]*[.])?${NUMBER}([:/]|$)')) && (!self.matches('^[[][0-9a-f:.]+[]]') || (isIP(self.substring(1, self.indexOf(']'))) && ip.isCanonical(self.substring(1, self.indexOf(']')))))`,
          'spec.hosts',
          'has a host that cannot be; write a name, an IPv4 address, or an IPv6 address in brackets in its shortest form',
        ),
        refuse(
          `!self.matches('^([^/:[]+|[[][^]]*[]]):[0-9]+(/|$)') || self.matches('^([^/:[]+|[[][^]]*[]]):${PORT}(/|$)')`,
          'spec.hosts',
          'has a port that cannot be; write one from 1 to 65535, without zeros before it',
        ),
      ),
    }),
    {
      minItems: 1,
      maxItems: 64,
      'x-kubernetes-list-type': 'set',
      description:
        'What these limits cover, together: HOST, HOST:PORT, or either with a /PREFIX of the path, in whole segments. The longest prefix wins; of equal ones, that which names the port.',
    },
  ),
  limits: Limits,
  schedule: Schedule,
  closeAfter: Duration('spec.closeAfter', '1s', '24h', {
    default: '120s',
    description:
      'The longest idle or send timeout of the server. After a node was lost, its connections count for so long.',
  }),
  allowedNamespaces: Type.Object(
    {
      from: Type.Union([Type.Literal('All'), Type.Literal('Selector')], {
        default: 'All',
        description: 'All: every namespace. Selector: those whose labels match.',
      }),
      matchLabels: Type.Optional(
        Type.Record(Type.String({ maxLength: 317 }), Type.String({ maxLength: 63 }), {
          maxProperties: 16,
          description:
            'Labels that a namespace must have, all of them; kubernetes.io/metadata.name is its name.',
        }),
      ),
    },
    {
      default: { from: 'All' },
      description: 'Whose Distributions may use these hosts.',
      ...rules(
        {
          rule: "self.from != 'Selector' || (has(self.matchLabels) && size(self.matchLabels) > 0)",
          message:
            "spec.allowedNamespaces.matchLabels: is empty while from is 'Selector', which would allow no namespace; write labels, or from: All",
        },
        {
          rule: "self.from != 'All' || !has(self.matchLabels)",
          message:
            "spec.allowedNamespaces.matchLabels: has no effect while from is 'All'; write from: Selector, or remove it",
        },
      ),
    },
  ),
  maxPriority: Priority({
    default: MAX_PRIORITY,
    description: 'Distributions with a higher spec.priority count as having this one here.',
  }),
  allowPrivateAddresses: Type.Boolean({
    default: false,
    description:
      'true lets the hosts resolve to private addresses (10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7, 64:ff9b:1::/48). Loopback and link-local ones stay refused.',
  }),
  allowAgentCredentials: Type.Boolean({
    default: false,
    description:
      'true gives the credentials of spec.source.secretRef to the agents too, so that nodes of such Distributions can top up from the origin. Otherwise only relays have them.',
  }),
});

const OriginStatus = Type.Object({
  observedGeneration: observedGeneration(),
  conditions: Type.Optional(Conditions),
  journals: Type.Optional(OriginJournals),
  usage: Type.Optional(
    Type.Object(
      {
        connections: Type.Integer({ minimum: 0, description: 'Leased now.' }),
        rateBytesPerSecond: Type.Integer({ minimum: 0, description: 'Leased now.' }),
        trafficBytes: Type.Integer({
          minimum: 0,
          description: 'Taken in this period, as far as holders have said.',
        }),
        chargedBytes: Type.Optional(
          Type.Integer({
            minimum: 0,
            description:
              'The same with what open and lost leases may have taken besides: compared with maxTraffic.',
          }),
        ),
        periodStart: Type.Optional(
          Type.String({
            format: 'date-time',
            maxLength: 64,
            description: 'When the period began that trafficBytes and chargedBytes are of.',
          }),
        ),
        periodEnd: Type.Optional(
          Type.String({
            format: 'date-time',
            maxLength: 64,
            description: 'When the bytes of the next period may be taken.',
          }),
        ),
        limitsChangeAt: Type.Optional(
          Type.String({
            format: 'date-time',
            maxLength: 64,
            description: 'When the schedule changes the limits next.',
          }),
        ),
        exhaustedAt: Type.Optional(
          Type.String({
            format: 'date-time',
            maxLength: 64,
            description:
              'Since when requests are refused because the traffic of the period is used up; absent while it is not.',
          }),
        ),
      },
      { description: 'What is leased now, and the bytes charged in this period.' },
    ),
  ),
  summary: Type.Optional(
    Type.Object(
      {
        connections: Type.String({ maxLength: 64, description: 'Leased of allowed connections.' }),
        bandwidth: Type.String({
          maxLength: 64,
          description: 'Leased of allowed bytes per second.',
        }),
        traffic: Type.String({
          maxLength: 64,
          description: 'Taken of allowed bytes in this period.',
        }),
        headroom: Type.Optional(
          Type.String({ maxLength: 64, description: 'What can still be leased.' }),
        ),
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
