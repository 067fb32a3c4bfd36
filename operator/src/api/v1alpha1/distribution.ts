/**
 * The custom resource `Distribution`: this file, or this set of files, is on these nodes. A field
 * stands here only when it acts. The CRD is generated from these schemas, the types are derived
 * from them.
 */
import { type Static, Type } from '@sinclair/typebox';
import { NodeAffinity } from './affinity.ts';
import { NodeCountField } from './counts.ts';
import { Conditions, observedGeneration, Priority, Rate, refuse, rules } from './fields.ts';
import type { ObjectMeta } from './objectMeta.ts';
import { Source } from './source.ts';
import { workloadFields } from './workloadFields.ts';

const Count = (description: string) => Type.Integer({ minimum: 0, description });

const Target = Type.Object(
  {
    nodeSelector: Type.Record(Type.String(), Type.String({ maxLength: 63 }), {
      maxProperties: 32,
      default: {},
      description: 'Labels of the nodes that get the file; empty means all nodes.',
    }),
    affinity: Type.Optional(NodeAffinity),
    path: Type.String({
      minLength: 1,
      maxLength: 512,
      description:
        'Folder of the file on the nodes, below <agent root>/<namespace>/. Cannot be changed, and may not lie in the path of another Distribution of the namespace.',
      ...rules(
        refuse(
          "!self.startsWith('/')",
          'spec.target.path',
          'is absolute; write it without the leading slash, it lies below <agent root>/<namespace>/',
        ),
        refuse(
          "self.startsWith('/') || self.split('/').all(segment, size(segment) > 0)",
          'spec.target.path',
          'has an empty segment; write single slashes between folders and none at the end',
        ),
        refuse(
          "self.split('/').all(segment, segment != '.' && segment != '..')",
          'spec.target.path',
          'has . or .. as a segment; write the folder itself, a path cannot leave the namespace',
        ),
        refuse(
          "self.matches('^[A-Za-z0-9._/-]*$') && self.split('/').all(segment, size(segment) <= 255)",
          'spec.target.path',
          'has characters other than letters, digits, dot, dash and underscore, or a segment over 255 bytes; rename the folder',
        ),
        refuse(
          "self.split('/')[0] != '.sluice'",
          'spec.target.path',
          'begins with .sluice, where Sluice keeps versions; choose another folder',
        ),
        {
          rule: 'self == oldSelf',
          messageExpression:
            '"spec.target.path: cannot be changed from \'" + oldSelf + "\' to \'" + self + "\'; make a new Distribution with the new path and delete this one"',
        },
      ),
    }),
    fileMode: Type.String({
      maxLength: 16,
      default: '0644',
      description: 'Permissions of the files on the nodes, octal; others must be able to read.',
      ...rules(
        refuse(
          "self.matches('^0[0-7][0-7][4-7]$')",
          'spec.target.fileMode',
          'is not a mode that lets others read; write four octal digits such as "0644" or "0755", in quotes',
        ),
      ),
    }),
    keepVersions: Type.Integer({
      minimum: 0,
      maximum: 8,
      default: 1,
      description:
        'Earlier versions that stay on a node, for pods that still run on them; the newest that were whole. A pod whose version is removed loses its files.',
    }),
    ...workloadFields,
  },
  { description: 'Which nodes get the file, and where.' },
);

const Delivery = Type.Object(
  {
    minRate: Type.Optional(
      Rate(
        'spec.delivery.minRate',
        'Bytes per second and node. A node that is slower tops up over HTTP. Absent: no floor.',
      ),
    ),
    maxRate: Type.Optional(
      Rate(
        'spec.delivery.maxRate',
        'Bytes per second that a node downloads at most. Absent: no cap.',
      ),
    ),
    maxUploadRate: Type.Optional(
      Rate(
        'spec.delivery.maxUploadRate',
        'Bytes per second that a node uploads to others at most. Absent: no cap.',
      ),
    ),
    topUp: Type.Array(Type.Union([Type.Literal('Relay'), Type.Literal('Origin')]), {
      maxItems: 2,
      default: ['Relay', 'Origin'],
      'x-kubernetes-list-type': 'atomic',
      description:
        'Where a node under minRate fetches over HTTP, in this order; the next one is asked when the one before does not bring enough. An empty list means BitTorrent only. Without minRate a node is helped when it receives nothing at all. Origin acts only where the origin honours ranges, and with spec.source.secretRef only where its Origin has allowAgentCredentials.',
      ...rules({
        rule: 'size(self) < 2 || self[0] != self[1]',
        message:
          'spec.delivery.topUp: names a source twice; name each once, in the order in which they are to be asked',
      }),
    }),
    maxOriginShare: Type.String({
      maxLength: 16,
      default: '10%',
      description:
        'What all nodes together may top up from the origin, as a share of nodes x size. Charged when it is granted, settled to what was used.',
      ...rules(
        refuse(
          "self.matches('^(100|[1-9]?[0-9])%$')",
          'spec.delivery.maxOriginShare',
          'is not a share; write a whole number from 0 to 100 with a percent sign, such as "10%"',
        ),
      ),
    }),
    transport: Type.Union([Type.Literal('Hybrid'), Type.Literal('HTTP')], {
      default: 'Hybrid',
      description:
        'Hybrid: BitTorrent, and HTTP for nodes that are short. HTTP: no BitTorrent at the nodes, for networks that block it; the first source of topUp carries them.',
    }),
    maxParallelNodes: NodeCountField('spec.delivery.maxParallelNodes', 1, {
      default: '100%',
      description:
        'How many nodes may transfer at once: a number, or a share of the matching nodes, rounded up. When one has finished the next begins. When it is lowered, those that have least stop and go on later.',
    }),
    maxUnready: NodeCountField('spec.delivery.maxUnready', 0, {
      default: 0,
      description:
        'How many nodes may lack the file while Ready turns True: a number, or a share of the matching nodes, rounded down. They are served all the same.',
    }),
  },
  {
    default: {},
    description: 'How fast. Changes act on running transfers.',
    ...rules(
      {
        rule: "!has(self.transport) || self.transport != 'HTTP' || !has(self.topUp) || size(self.topUp) > 0",
        message:
          'spec.delivery.topUp: is empty while spec.delivery.transport is HTTP, so that nodes would get nothing; name Relay, or set transport to Hybrid',
      },
      {
        rule: '!has(self.minRate) || !has(self.maxRate) || !isQuantity(string(self.minRate)) || !isQuantity(string(self.maxRate)) || quantity(string(self.minRate)).compareTo(quantity(string(self.maxRate))) <= 0',
        messageExpression:
          '"spec.delivery.minRate: \'" + string(self.minRate) + "\' is more than spec.delivery.maxRate \'" + string(self.maxRate) + "\'; lower minRate or raise maxRate"',
      },
    ),
  },
);

const Relays = Type.Object(
  {
    topologyKey: Type.String({
      minLength: 1,
      maxLength: 316,
      default: 'topology.kubernetes.io/zone',
      description:
        'Node label whose values are the domains that get relays of their own. Nodes without it form the domain `default`.',
      ...rules(
        refuse(
          "self.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$')",
          'spec.relays.topologyKey',
          'is not the key of a label; write one such as topology.kubernetes.io/zone',
        ),
      ),
    }),
    nodesPerRelay: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 200,
      description: 'One relay more for each so many target nodes of a domain.',
    }),
    dedicated: Type.Boolean({
      default: false,
      description:
        'true: relays of its own, which serve no other Distribution, and no others serve it.',
    }),
  },
  {
    default: {},
    description:
      'Relays near the target nodes. Distributions share them, but for those that are dedicated.',
  },
);

const DistributionSpec = Type.Object({
  source: Source,
  target: Target,
  delivery: Delivery,
  relays: Relays,
  priority: Priority({
    default: 0,
    description: 'A larger share of scarce origin bandwidth goes to the higher priority.',
  }),
  suspend: Type.Boolean({
    default: false,
    description: 'true stops all transfers of this Distribution; what is on the nodes stays.',
  }),
  progressDeadlineSeconds: Type.Integer({
    minimum: 10,
    maximum: 604_800,
    default: 600,
    description: 'When no byte moved for so long, the condition Stalled says why.',
  }),
  deletionPolicy: Type.Union([Type.Literal('Delete'), Type.Literal('Retain')], {
    default: 'Delete',
    description:
      'What becomes of the files when the Distribution is deleted, and on a node that spec.target does not match any more.',
  }),
  deletionGraceSeconds: Type.Integer({
    minimum: 0,
    maximum: 2_592_000,
    default: 3600,
    description:
      'With deletionPolicy Delete: how long the files stay after the Distribution is gone. One with the same namespace and path that is applied meanwhile adopts them, unless they have only been found not to have their digest.',
  }),
});

const DistributionStatus = Type.Object({
  observedGeneration: observedGeneration(),
  conditions: Type.Optional(Conditions),
  epoch: Type.Optional(
    Type.Object(
      {
        number: Type.Integer({
          minimum: 1,
          description: 'Counts up from 1 with each version of the source.',
        }),
        sizeBytes: Count('Bytes of all files.'),
        validator: Type.Optional(
          Type.String({
            maxLength: 1024,
            description: 'What the origin calls this version: its ETag, else its Last-Modified.',
          }),
        ),
        pieceLengthBytes: Count('Bytes of a piece; the last of a file may be shorter.'),
        pieces: Count('Number of pieces.'),
      },
      { description: 'The version of the bytes that is being delivered.' },
    ),
  ),
  nodes: Type.Optional(
    Type.Object(
      {
        desired: Count(
          'Nodes that match spec.target and are waited for: ready ones, and others once they have the file.',
        ),
        pending: Count('Nodes that have not begun.'),
        transferring: Count('Nodes that receive or verify.'),
        ready: Count('Nodes that show the file of this epoch.'),
        failed: Count('Nodes that gave up; see failedNodes.'),
        unreachable: Count('Nodes whose agent is not connected and that are not ready.'),
      },
      { description: 'How many nodes are how far. The other numbers add up to desired.' },
    ),
  ),
  bytes: Type.Optional(
    Type.Object(
      {
        total: Count('Bytes that all nodes are to have: nodes x size.'),
        delivered: Count('Verified bytes on all nodes.'),
        perSecond: Count('Received in the last second, on all nodes.'),
        fromPeers: Count('Received from other nodes.'),
        fromRelays: Count('Received from relays, over BitTorrent and HTTP.'),
        fromOrigin: Count('Taken from the origin by relays and nodes.'),
      },
      { description: 'Of this epoch; sums over all nodes that match.' },
    ),
  ),
  etaSeconds: Type.Optional(
    Count('Until all nodes have all bytes, at the rate of now; absent while none moves.'),
  ),
  relays: Type.Optional(
    Type.Array(
      Type.Object({
        domain: Type.String({
          maxLength: 63,
          description: 'Value of the label spec.relays.topologyKey; `default` where nodes lack it.',
        }),
        desired: Count('Relays that the domain is to have.'),
        available: Count('Relays that run and are connected.'),
      }),
      {
        maxItems: 256,
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['domain'],
        description: 'By topology domain with target nodes; 256 of them at most.',
      },
    ),
  ),
  summary: Type.Optional(
    Type.Object(
      {
        nodes: Type.String({ maxLength: 64, description: 'Ready of desired nodes.' }),
        size: Type.String({ maxLength: 64, description: 'Bytes of all files.' }),
        progress: Type.String({
          maxLength: 64,
          description: 'Verified share of all bytes on all nodes.',
        }),
        peers: Type.String({
          maxLength: 64,
          description: 'Share of the received bytes that came from other nodes.',
        }),
        rate: Type.String({ maxLength: 64, description: 'Bytes per second, all nodes.' }),
        eta: Type.String({ maxLength: 64, description: 'Time to the end at the rate of now.' }),
      },
      { description: 'For the columns of kubectl get.' },
    ),
  ),
  startTime: Type.Optional(
    Type.String({
      format: 'date-time',
      maxLength: 64,
      description: 'When this epoch began.',
    }),
  ),
  completionTime: Type.Optional(
    Type.String({
      format: 'date-time',
      maxLength: 64,
      description: 'When Ready turned True; absent while it is not.',
    }),
  ),
  failedNodes: Type.Optional(
    Type.Array(
      Type.Object({
        name: Type.String({ maxLength: 253, description: 'Of the node.' }),
        reason: Type.String({
          maxLength: 64,
          description: 'In one word; one of those that are documented, or what an agent calls it.',
        }),
        message: Type.String({
          maxLength: 1024,
          description: 'What happened, and after the last semicolon what to do.',
        }),
      }),
      {
        maxItems: 10,
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
        description:
          'The ten worst of the nodes that failed or have no agent: who needs a person before who tries again, then who has least. Each message ends with what to do.',
      },
    ),
  ),
});

export const DistributionSchema = Type.Object(
  {
    spec: DistributionSpec,
    status: Type.Optional({ ...DistributionStatus, default: { observedGeneration: -1 } }),
  },
  { description: 'Distribution says that a file is on nodes, and keeps it so.' },
);

export type DistributionSpec = Static<typeof DistributionSpec>;
export type DistributionStatus = Static<typeof DistributionStatus>;

/** As read from the API server: defaults are filled in. */
export interface Distribution {
  readonly apiVersion: 'sluice.dev/v1alpha1';
  readonly kind: 'Distribution';
  readonly metadata: ObjectMeta & { readonly namespace: string };
  readonly spec: DistributionSpec;
  readonly status?: DistributionStatus;
}
