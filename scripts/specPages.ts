/**
 * Fills the tables of the specification pages, between `<!-- NAME -->` and `<!-- end -->`, from the
 * code. The prose around them is written by hand; specPages.test.ts looks at the names in it. With
 * `--check` it tells which page is stale.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parse, parseDocument, type YAMLMap } from 'yaml';
import { distributionReasons, originReasons } from '../operator/src/api/v1alpha1/conditions.ts';
import { DISTRIBUTION_CONDITIONS } from '../operator/src/policies/distributionConditions.ts';
import { ORIGIN_CONDITIONS } from '../operator/src/policies/originConditions.ts';
import { ORIGIN_EVENTS } from '../operator/src/policies/originEvents.ts';
import { DISTRIBUTION_EVENTS } from '../operator/src/policies/story.ts';
import {
  type ChartValue,
  chartValues,
  columnTable,
  conditionTable,
  eventTable,
  failureTable,
  fieldTable,
  nodeTable,
  type PrinterColumn,
  reasonTable,
  refusalTable,
  type Schema,
  statusTable,
  type ValueSchema,
  valueTable,
} from './specTables.ts';

const root = path.resolve(import.meta.dirname, '..');

type Tables = Readonly<Record<string, string>>;

/** Of events whose reasons stand in other tables of the page. */
const OTHER_EVENTS = [
  [
    'each with a [kind](#conditions)',
    'Warning',
    'It becomes the reason of Reconciling or Stalled, or of RelaysAvailable.',
  ],
  [
    'each of [failed nodes](#failed-nodes)',
    'Warning',
    'status.failedNodes has it for the first time, and no condition that turns then says it. The note names three of the nodes, and says how many more there are.',
  ],
];

export interface SpecPage {
  readonly page: string;
  tables(): Promise<Tables>;
}

export const PAGES: readonly SpecPage[] = [
  {
    page: 'docs/distribution.md',
    tables: async () => ({
      ...(await tablesOf('distributions')),
      conditions: conditionTable(DISTRIBUTION_CONDITIONS),
      reasons: failureTable(distributionReasons),
      nodes: nodeTable(),
      events: eventTable(DISTRIBUTION_EVENTS, OTHER_EVENTS),
    }),
  },
  {
    page: 'docs/origin.md',
    tables: async () => ({
      ...(await tablesOf('origins')),
      conditions: conditionTable(ORIGIN_CONDITIONS),
      reasons: reasonTable(originReasons),
      events: eventTable(ORIGIN_EVENTS),
    }),
  },
  {
    page: 'docs/operations.md',
    tables: async () => ({ settings: valueTable(await chartSettings(), await settingSchema()) }),
  },
];

interface Version {
  readonly schema: { readonly openAPIV3Schema: Schema };
  readonly additionalPrinterColumns: readonly PrinterColumn[];
}

export async function crdVersion(plural: string): Promise<Version> {
  const text = await readFile(path.join(root, `crds/${plural}.sluice.dev.yaml`), 'utf8');
  return (parse(text) as { spec: { versions: [Version] } }).spec.versions[0];
}

async function tablesOf(plural: string): Promise<Tables> {
  const { schema, additionalPrinterColumns } = await crdVersion(plural);
  const { spec = {}, status = {} } = schema.openAPIV3Schema.properties ?? {};
  return {
    spec: fieldTable(spec, 'spec'),
    refusals: refusalTable(spec),
    status: statusTable(status),
    columns: columnTable(additionalPrinterColumns),
  };
}

export async function chartSettings(): Promise<ChartValue[]> {
  const text = await readFile(path.join(root, 'helm/sluice/values.yaml'), 'utf8');
  return chartValues(parseDocument(text).contents as YAMLMap);
}

export async function settingSchema(): Promise<ValueSchema> {
  const file = path.join(root, 'helm/sluice/values.schema.json');
  return JSON.parse(await readFile(file, 'utf8')) as ValueSchema;
}

export function pageText({ page }: SpecPage): Promise<string> {
  return readFile(path.join(root, page), 'utf8');
}

export function fillPage(text: string, tables: Tables): string {
  let filled = text;
  for (const [name, table] of Object.entries(tables)) {
    const start = `<!-- ${name} -->\n`;
    const from = filled.indexOf(start);
    const to = filled.indexOf('<!-- end -->', from);
    if (from < 0 || to < 0) throw new Error(`the page has no place for ${name}`);
    filled = `${filled.slice(0, from + start.length)}${table}\n${filled.slice(to)}`;
  }
  return filled;
}

if (import.meta.main) {
  for (const each of PAGES) {
    const text = await pageText(each);
    const filled = fillPage(text, await each.tables());
    if (filled === text) continue;
    if (process.argv.includes('--check')) {
      console.error(`${each.page} is stale. Run: node scripts/specPages.ts`);
      process.exitCode = 1;
    } else {
      await writeFile(path.join(root, each.page), filled);
    }
  }
}
