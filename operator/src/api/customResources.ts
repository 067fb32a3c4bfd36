/** The CustomResourceDefinitions of the group sluice.dev, made from the schemas of v1alpha1. */
import { structuralSchema } from './structuralSchema.ts';
import { DistributionSchema } from './v1alpha1/distribution.ts';
import { OriginSchema } from './v1alpha1/origin.ts';

const GROUP = 'sluice.dev';
const VERSION = 'v1alpha1';

interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'date';
  readonly description: string;
  readonly jsonPath: string;
  /** 1: with `-o wide` only. */
  readonly priority?: number;
}

export interface CustomResourceDefinition {
  readonly apiVersion: 'apiextensions.k8s.io/v1';
  readonly kind: 'CustomResourceDefinition';
  readonly metadata: { readonly name: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

const READY = '.status.conditions[?(@.type=="Ready")]';

const distributionColumns: readonly PrinterColumn[] = [
  column(
    'Ready',
    'Whether the matching nodes show the file, but for as many as spec.delivery.maxUnready lets go without.',
    `${READY}.status`,
  ),
  column('Nodes', 'Ready of desired nodes.', '.status.summary.nodes'),
  column('Progress', 'Verified share of all bytes on all nodes.', '.status.summary.progress'),
  column('Size', 'Bytes of the file.', '.status.summary.size'),
  column(
    'Peers',
    'Share of the received bytes that came from other nodes.',
    '.status.summary.peers',
  ),
  column('ETA', 'Time to the end at the rate of now.', '.status.summary.eta'),
  { ...column('Age', 'Time since creation.', '.metadata.creationTimestamp'), type: 'date' },
  { ...column('Rate', 'Bytes per second, all nodes.', '.status.summary.rate'), priority: 1 },
  {
    ...column('Failed', 'Nodes that gave up.', '.status.nodes.failed'),
    type: 'integer',
    priority: 1,
  },
  { ...column('Message', 'What the condition Ready says.', `${READY}.message`), priority: 1 },
];

const originColumns: readonly PrinterColumn[] = [
  column('Ready', 'Whether the limits are enforced.', `${READY}.status`),
  column('Connections', 'Leased of allowed connections.', '.status.summary.connections'),
  column('Bandwidth', 'Leased of allowed bytes per second.', '.status.summary.bandwidth'),
  column('Traffic', 'Taken of allowed bytes in this period.', '.status.summary.traffic'),
  column(
    'Headroom',
    'Connections, bytes per second and bytes that can still be leased.',
    '.status.summary.headroom',
  ),
  column(
    'Limit',
    'Which limit holds distributions back.',
    '.status.conditions[?(@.type=="Limiting")].reason',
  ),
  { ...column('Age', 'Time since creation.', '.metadata.creationTimestamp'), type: 'date' },
  { ...column('Hosts', 'Hosts that are covered.', '.spec.hosts'), priority: 1 },
  { ...column('Message', 'What the condition Ready says.', `${READY}.message`), priority: 1 },
];

export const customResourceDefinitions: readonly CustomResourceDefinition[] = [
  definition({
    kind: 'Distribution',
    plural: 'distributions',
    shortNames: ['dist'],
    scope: 'Namespaced',
    schema: DistributionSchema,
    columns: distributionColumns,
  }),
  definition({
    kind: 'Origin',
    plural: 'origins',
    scope: 'Cluster',
    schema: OriginSchema,
    columns: originColumns,
  }),
];

interface Kind {
  readonly kind: string;
  readonly plural: string;
  readonly shortNames?: readonly string[];
  readonly scope: 'Namespaced' | 'Cluster';
  readonly schema: Readonly<Record<string, unknown>>;
  readonly columns: readonly PrinterColumn[];
}

function definition(kind: Kind): CustomResourceDefinition {
  const schema = structuralSchema(kind.schema, kind.kind);
  const properties = {
    apiVersion: { type: 'string' },
    kind: { type: 'string' },
    metadata: { type: 'object' },
    ...(schema.properties as object),
  };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: kind.scope,
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.kind.toLowerCase(),
        ...(kind.shortNames && { shortNames: kind.shortNames }),
        categories: ['sluice'],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: kind.columns,
          schema: { openAPIV3Schema: { ...schema, properties } },
        },
      ],
    },
  };
}

function column(name: string, description: string, jsonPath: string): PrinterColumn {
  return { name, type: 'string', description, jsonPath };
}
