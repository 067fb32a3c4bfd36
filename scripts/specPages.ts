/**
 * Fills the tables of docs/distribution.md and docs/origin.md, between `<!-- NAME -->` and
 * `<!-- end -->`: the fields from the generated CRDs, the reasons from the operator's code. The
 * prose around them is written by hand. With `--check` it tells which page is stale.
 */
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'yaml';
import { distributionReasons, originReasons } from '../operator/src/api/v1alpha1/conditions.ts';
import { FAILURES, isFailure } from '../operator/src/policies/failures.ts';
import { NODE_FAILURES } from '../operator/src/policies/nodeFailures.ts';

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly format?: string;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-validations'?: readonly { message?: string; messageExpression?: string }[];
}

const root = path.resolve(import.meta.dirname, '..');

const PAGES = [
  {
    page: 'docs/distribution.md',
    crd: 'crds/distributions.sluice.dev.yaml',
    own: { reasons: failureTable(distributionReasons), nodes: nodeTable() },
  },
  {
    page: 'docs/origin.md',
    crd: 'crds/origins.sluice.dev.yaml',
    own: { reasons: reasonTable(originReasons) },
  },
];

/** Left out: conditions have a section of their own, the summary is what kubectl's columns show. */
const COMMON = new Set(['status.conditions', 'status.summary']);

for (const { page, crd, own } of PAGES) {
  const definition = parse(await readFile(path.join(root, crd), 'utf8'));
  const schema = definition.spec.versions[0].schema.openAPIV3Schema as Schema;
  const text = await readFile(path.join(root, page), 'utf8');
  const filled = fillPage(text, {
    spec: fieldTable(schema.properties?.spec ?? {}, 'spec'),
    status: statusTable(schema.properties?.status ?? {}),
    refusals: refusalTable(schema.properties?.spec ?? {}),
    ...own,
  });
  if (filled === text) continue;
  if (process.argv.includes('--check')) {
    console.error(`${page} is stale. Run: node scripts/specPages.ts`);
    process.exitCode = 1;
  } else {
    await writeFile(path.join(root, page), filled);
  }
}

function fillPage(text: string, tables: Readonly<Record<string, string>>): string {
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

function fieldTable(schema: Schema, at: string): string {
  const rows = fields(schema, at).map(({ name, field, required }) =>
    row([
      `\`${name}\``,
      typeOf(field),
      defaultOf(field, required),
      boundsOf(field),
      field.description ?? '',
    ]),
  );
  return [
    row(['field', 'type', 'default', 'bounds', 'meaning']),
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** Nobody writes a status by hand: its bounds and defaults would only be in the way. */
function statusTable(schema: Schema): string {
  const rows = fields(schema, 'status').map(({ name, field }) =>
    row([`\`${name}\``, typeOf(field), field.description ?? '']),
  );
  return [row(['field', 'type', 'meaning']), '|---|---|---|', ...rows].join('\n');
}

interface Field {
  readonly name: string;
  readonly field: Schema;
  readonly required: boolean;
}

function fields(schema: Schema, at: string): Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) => {
    const name = `${at}.${key}`;
    if (COMMON.has(name)) return [];
    const own = { name, field, required: schema.required?.includes(key) ?? false };
    const inner = field.items?.properties ? fields(field.items, `${name}[]`) : fields(field, name);
    return [own, ...inner];
  });
}

function typeOf(field: Schema): string {
  if (field['x-kubernetes-int-or-string']) return 'quantity';
  if (field.additionalProperties) return 'map of strings';
  if (field.type === 'array')
    return field.items?.properties ? 'list' : `list of ${field.items?.type}s`;
  return field.format ?? field.type ?? '';
}

function defaultOf(field: Schema, required: boolean): string {
  if (field.default !== undefined) return `\`${JSON.stringify(field.default)}\``;
  return required ? 'required' : '';
}

function boundsOf(field: Schema): string {
  const allowed = field.enum ?? field.items?.enum;
  const bounds = [
    allowed?.map((value) => `\`${value}\``).join(', '),
    field.minimum === undefined && field.maximum === undefined
      ? undefined
      : `${field.minimum ?? ''} to ${field.maximum ?? ''}`.trim(),
    field.type === 'string' && field.maxLength !== undefined
      ? `at most ${field.maxLength} characters`
      : undefined,
    field.maxItems === undefined
      ? undefined
      : `${field.minItems ?? 0} to ${field.maxItems} entries`,
    field.maxProperties === undefined ? undefined : `at most ${field.maxProperties} entries`,
  ];
  return bounds
    .filter((bound) => bound !== undefined)
    .join('; ')
    .replace(/ to$/, ' or more');
}

/** The sentences with which the API server refuses a value, as far as they do not depend on it. */
function refusalTable(schema: Schema): string {
  const all = [{ name: 'spec', field: schema, required: true }, ...fields(schema, 'spec')];
  const sentences = all.flatMap(({ field }) => [
    ...(field['x-kubernetes-validations'] ?? []),
    ...(field.items?.['x-kubernetes-validations'] ?? []),
  ]);
  return sentences.map((rule) => `- ${sentenceOf(rule).replaceAll('<', '&lt;')}`).join('\n');
}

/** From a CEL expression that joins strings: what stands in for a value becomes VALUE. */
function sentenceOf(rule: { message?: string; messageExpression?: string }): string {
  if (rule.message !== undefined) return rule.message;
  return (rule.messageExpression ?? '')
    .replace(/" \+ (string\()?[A-Za-z.]+\)? \+ "/g, 'VALUE')
    .replace(/^"|"$/g, '')
    .replaceAll('\\"', '"');
}

function reasonTable(reasons: Readonly<Record<string, string>>): string {
  const rows = Object.entries(reasons).map(([reason, meaning]) => row([`\`${reason}\``, meaning]));
  return [row(['reason', 'what it says']), '|---|---|', ...rows].join('\n');
}

function nodeTable(): string {
  const rows = Object.entries(NODE_FAILURES).map(([reason, { when, remedy }]) =>
    row([`\`${reason}\``, when, remedy]),
  );
  return [row(['reason', 'when', 'what to do']), '|---|---|---|', ...rows].join('\n');
}

/** What kind of failure a reason is decides which condition goes with Ready=False. */
function failureTable(reasons: Readonly<Record<string, string>>): string {
  const rows = Object.entries(reasons).map(([reason, when]) => {
    const { kind = '', remedy } = isFailure(reason) ? FAILURES[reason] : {};
    const what = isFailure(reason) ? (remedy ?? 'as the message says') : '';
    return row([`\`${reason}\``, when, kind, what]);
  });
  return [row(['reason', 'when', 'kind', 'what to do']), '|---|---|---|---|', ...rows].join('\n');
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('<', '&lt;')).join(' | ')} |`;
}
