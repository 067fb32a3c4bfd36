/**
 * The tables of the specification pages, as Markdown: fields, refusals and columns from the CRDs,
 * conditions, reasons and events from the operator's policies, settings from the chart.
 */
import { isMap, isScalar, type Pair, type YAMLMap } from 'yaml';
import type { ConditionRules } from '../operator/src/policies/conditions.ts';
import {
  FAILURES,
  type FailureKind,
  failuresOf,
  isFailure,
} from '../operator/src/policies/failures.ts';
import { NODE_FAILURES } from '../operator/src/policies/nodeFailures.ts';
import type { EventRule } from '../operator/src/policies/story.ts';

interface Validation {
  readonly rule?: string;
  readonly message?: string;
  readonly messageExpression?: string;
}

export interface Schema {
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
  readonly 'x-kubernetes-validations'?: readonly Validation[];
}

export function fieldTable(schema: Schema, at: string): string {
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
export function statusTable(schema: Schema): string {
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

export function fields(schema: Schema, at: string): Field[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) => {
    const name = `${at}.${key}`;
    const own = { name, field, required: schema.required?.includes(key) ?? false };
    const inner = field.items?.properties ? fields(field.items, `${name}[]`) : fields(field, name);
    return [own, ...inner];
  });
}

function typeOf(field: Schema): string {
  if (field['x-kubernetes-int-or-string']) return 'integer or string';
  if (field.additionalProperties) return 'map of strings';
  if (field.type === 'array')
    return field.items?.properties ? 'list' : `list of ${field.items?.type}s`;
  return field.format ?? field.type ?? '';
}

function defaultOf(field: Schema, required: boolean): string {
  if (field.default !== undefined) return `\`${JSON.stringify(field.default)}\``;
  return required ? 'required' : '';
}

const NOT_EMPTY = 'size(self) > 0';

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
    field.maxItems === undefined ? undefined : `${leastItems(field)} to ${field.maxItems} entries`,
    field.maxProperties === undefined ? undefined : `at most ${field.maxProperties} entries`,
  ];
  return bounds
    .filter((bound) => bound !== undefined)
    .join('; ')
    .replace(/ to$/, ' or more');
}

/** A rule may refuse the empty list in place of minItems: with a sentence of its own. */
function leastItems(field: Schema): number {
  const mayBeEmpty = !field['x-kubernetes-validations']?.some((each) => each.rule === NOT_EMPTY);
  return field.minItems ?? (mayBeEmpty ? 0 : 1);
}

/** The sentences with which the API server refuses a value, as far as they do not depend on it. */
export function refusalTable(schema: Schema): string {
  const all = [{ name: 'spec', field: schema, required: true }, ...fields(schema, 'spec')];
  const sentences = all.flatMap(({ field }) => [
    ...(field['x-kubernetes-validations'] ?? []),
    ...(field.items?.['x-kubernetes-validations'] ?? []),
  ]);
  return sentences.map((rule) => `- ${escapeHtml(sentenceOf(rule))}`).join('\n');
}

/** From a CEL expression that joins strings: what stands in for a value becomes VALUE. */
function sentenceOf(rule: Validation): string {
  if (rule.message !== undefined) return rule.message;
  return (rule.messageExpression ?? '')
    .replace(/" \+ (string\()?[A-Za-z.]+\)? \+ "/g, 'VALUE')
    .replace(/^"|"$/g, '')
    .replaceAll('\\"', '"');
}

export function reasonTable(reasons: Readonly<Record<string, string>>): string {
  const rows = Object.entries(reasons).map(([reason, meaning]) => row([`\`${reason}\``, meaning]));
  return [row(['reason', 'what it says']), '|---|---|', ...rows].join('\n');
}

export function nodeTable(): string {
  const rows = Object.entries(NODE_FAILURES).map(([reason, { when, remedy }]) =>
    row([`\`${reason}\``, when, remedy]),
  );
  return [row(['reason', 'when', 'what to do']), '|---|---|---|', ...rows].join('\n');
}

/** What kind of failure a reason is decides which condition goes with Ready=False. */
export function failureTable(reasons: Readonly<Record<string, string>>): string {
  const rows = Object.entries(reasons).map(([reason, when]) => {
    const { kind = '', remedy } = isFailure(reason) ? FAILURES[reason] : {};
    const what = isFailure(reason) ? (remedy ?? 'as the message says') : '';
    return row([`\`${reason}\``, when, kind, what]);
  });
  return [row(['reason', 'when', 'kind', 'what to do']), '|---|---|---|---|', ...rows].join('\n');
}

export interface PrinterColumn {
  readonly name: string;
  readonly description: string;
  readonly priority?: number;
}

/** What `kubectl get` shows, from left to right. */
export function columnTable(columns: readonly PrinterColumn[]): string {
  const rows = columns.map(({ name, description, priority = 0 }) =>
    row([name.toUpperCase(), priority > 0 ? '`-o wide`' : 'always', description]),
  );
  return [row(['column', 'shown', 'meaning']), '|---|---|---|', ...rows].join('\n');
}

const KINDS: readonly FailureKind[] = ['stall', 'wait', 'retry'];

export function conditionTable(rules: ConditionRules): string {
  const rows = Object.entries(rules).flatMap(([type, statuses]) =>
    Object.entries(statuses).map(([status, rule], at) => {
      const { when = '', reasons = [] } = rule ?? {};
      return row([at === 0 ? `\`${type}\`` : '', status, when, reasonsText(reasons)]);
    }),
  );
  const titles = ['condition', 'status', 'set when', 'reasons'];
  return [row(titles), '|---|---|---|---|', ...rows].join('\n');
}

/** Failures by the name of their kind, where all of it, or all but one, are meant. */
function reasonsText(reasons: readonly string[]): string {
  const lacking = (kind: FailureKind) => failuresOf(kind).filter((one) => !reasons.includes(one));
  const kinds = KINDS.filter((kind) => {
    const lacks = lacking(kind).length;
    return lacks === 0 || (lacks === 1 && failuresOf(kind).length > 3);
  });
  const rest = reasons.filter((reason) => !kinds.some((kind) => isOfKind(reason, kind)));
  const quoted = (names: readonly string[]) => names.map((name) => `\`${name}\``);
  const lacked = quoted(kinds.flatMap(lacking)).join(' and ');
  const but = lacked === '' ? '' : ` but ${lacked}`;
  const each = `each of the kind ${quoted(kinds).join(' or ')}${but}`;
  return [...quoted(rest), ...(kinds.length === 0 ? [] : [each])].join(', ');
}

function isOfKind(reason: string, kind: FailureKind): boolean {
  return isFailure(reason) && FAILURES[reason].kind === kind;
}

export function eventTable(
  events: Readonly<Record<string, EventRule>>,
  more: readonly (readonly string[])[] = [],
): string {
  const rows = Object.entries(events).map(([reason, { type, when }]) =>
    row([`\`${reason}\``, type, when]),
  );
  const titles = ['reason', 'type', 'told when'];
  return [row(titles), '|---|---|---|', ...rows, ...more.map(row)].join('\n');
}

/** As JSON Schema has it, which also is what Helm refuses by. */
export interface ValueSchema {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, ValueSchema>>;
  readonly definitions?: Readonly<Record<string, ValueSchema>>;
}

export interface ChartValue {
  readonly name: string;
  /** Undefined: others stand below it. */
  readonly value: unknown;
  readonly meaning: string;
}

/** In the order of the file. What is written in braces is one value. */
export function chartValues(map: YAMLMap, at = ''): ChartValue[] {
  return map.items.flatMap((item, index) => {
    const { key, value } = item as Pair;
    if (!isScalar(key)) throw new Error(`${at}: a key is no scalar`);
    const name = `${at}${key.value}`;
    // What stands before the first key is a comment of the whole.
    const before = key.commentBefore ?? (index === 0 && at !== '' ? map.commentBefore : undefined);
    const meaning = meaningOf(before ?? '');
    if (!isMap(value) || value.flow) {
      const json = (value as { toJSON(): unknown } | null)?.toJSON();
      return [{ name, value: json, meaning }];
    }
    const group = meaning === '' ? [] : [{ name, value: undefined, meaning }];
    return [...group, ...chartValues(value, `${name}.`)];
  });
}

/** Its last paragraph: what stands before an empty line is about something else. */
function meaningOf(comment: string): string {
  const paragraph = comment.split('\n\n').at(-1) ?? '';
  return paragraph.replaceAll(/\s+/g, ' ').trim();
}

export function valueTable(values: readonly ChartValue[], schema: ValueSchema): string {
  const rows = values.map(({ name, value, meaning }) =>
    row([
      `\`${name}\``,
      value === undefined ? '' : `\`${JSON.stringify(value)}\``,
      valueBounds(schemaAt(schema, name)),
      meaning,
    ]),
  );
  const titles = ['setting', 'default', 'allowed', 'meaning'];
  return [row(titles), '|---|---|---|---|', ...rows].join('\n');
}

export function schemaAt(root: ValueSchema, name: string): ValueSchema | undefined {
  const followed = (schema: ValueSchema | undefined) =>
    schema?.$ref === undefined
      ? schema
      : root.definitions?.[schema.$ref.slice(schema.$ref.lastIndexOf('/') + 1)];
  return name
    .split('.')
    .reduce<ValueSchema | undefined>((schema, key) => followed(schema?.properties?.[key]), root);
}

function valueBounds(schema: ValueSchema | undefined): string {
  const { enum: allowed, minimum, maximum } = schema ?? {};
  if (allowed !== undefined) return allowed.map((value) => `\`${value}\``).join(', ');
  return minimum === undefined && maximum === undefined ? '' : `${minimum} to ${maximum}`;
}

function row(cells: readonly string[]): string {
  const escaped = cells.map((cell) => escapeHtml(cell.replaceAll('|', '\\|')));
  return `| ${escaped.join(' | ')} |`;
}

/** Code is shown as it is. */
function escapeHtml(text: string): string {
  const parts = text.split('`');
  return parts.map((part, at) => (at % 2 === 0 ? part.replaceAll('<', '&lt;') : part)).join('`');
}
