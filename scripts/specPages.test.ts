/** The pages that people look things up in say what is there, all of it, and nothing else. */
import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { distributionReasons, originReasons } from '../operator/src/api/v1alpha1/conditions.ts';
import { DISTRIBUTION_CONDITIONS } from '../operator/src/policies/distributionConditions.ts';
import { NODE_FAILURES } from '../operator/src/policies/nodeFailures.ts';
import { ORIGIN_CONDITIONS } from '../operator/src/policies/originConditions.ts';
import { DISTRIBUTION_EVENTS } from '../operator/src/policies/story.ts';
import {
  chartSettings,
  crdVersion,
  fillPage,
  PAGES,
  pageText,
  settingSchema,
} from './specPages.ts';
import { fields, schemaAt, type ValueSchema } from './specTables.ts';

const root = path.resolve(import.meta.dirname, '..');

describe.each(PAGES)('$page', (page) => {
  it('has the tables that are made from the code', async () => {
    const text = await pageText(page);
    expect(fillPage(text, await page.tables())).toBe(text);
  });

  it('is stale when a row of any table is missing, or one is too many', async () => {
    const text = await pageText(page);
    const tables = await page.tables();
    for (const [name, table] of Object.entries(tables)) {
      const rows = table.split('\n');
      expect(rows.length, name).toBeGreaterThan(3);
      const last = rows.at(-1) ?? '';
      for (const other of [rows.slice(0, -1), [...rows, last]]) {
        const stale = text.replace(table, () => other.join('\n'));
        expect(stale, name).not.toBe(text);
        expect(fillPage(stale, tables), name).toBe(text);
      }
    }
  });

  it('explains each row', async () => {
    for (const [name, table] of Object.entries(await page.tables())) {
      const unexplained = table
        .split('\n')
        .filter((row) => row.startsWith('| `'))
        .filter((row) => row.split(/(?<!\\)\|/).filter((cell) => /\w{2}/.test(cell)).length < 2);
      expect(unexplained, name).toEqual([]);
    }
  });
});

interface Example {
  readonly kind?: string;
  readonly spec?: object;
  readonly status?: object;
}

/** Objects, and parts of a spec or a status, in the order of the page. */
async function examplesIn(page: string): Promise<Example[]> {
  const text = await readFile(path.join(root, page), 'utf8');
  return [...text.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, yaml = '']) => {
    const example = parse(yaml) as Example;
    return 'spec' in example || 'status' in example ? example : { spec: example };
  });
}

/** Names of all fields below, as the tables have them. */
function namesIn(value: unknown, at: string): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => namesIn(item, `${at}[]`));
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const name = `${at}.${key}`;
    return [name, ...namesIn(inner, name)];
  });
}

describe.each([
  { page: 'docs/distribution.md', plural: 'distributions' },
  { page: 'docs/origin.md', plural: 'origins' },
])('the examples of $page', ({ page, plural }) => {
  it.each(['spec', 'status'] as const)('have every field of the %s', async (part) => {
    const { schema } = await crdVersion(plural);
    const all = fields(schema.openAPIV3Schema.properties?.[part] ?? {}, part);
    const shown = new Set((await examplesIn(page)).flatMap((each) => namesIn(each[part], part)));
    expect(all.map(({ name }) => name).filter((name) => !shown.has(name))).toEqual([]);
  });
});

/** Of Kubernetes, of Argo CD and of Flux. */
const OTHERS_FIELDS = [
  'spec.wait',
  'spec.holderIdentity',
  'status.podIP',
  'spec.nodeName',
  'spec.template.spec.containers',
];
/** Of Kubernetes, and what the processes say to each other. */
const OTHERS_WORDS = ['NotIn', 'DoesNotExist', 'IfNotPresent', 'UnknownVersion', 'UnknownSwarm'];
const FIELD = /\b(?:spec|status)(?:\.[A-Za-z]+)+/g;
const SETTING =
  /(?<![\w./-])(?:crds|operator|relay|agent|mongodb|workloads|networkPolicy|originCA)(?:\.[A-Za-z]+)+/g;
const WORD = /(?<=`)[A-Z][a-z]+(?:[A-Z][a-z]+)+(?=`)/g;
/** Of a sentence in code. */
const SENTENCE = /(['"`])(?:(?!\1).)* (?:(?!\1).)*\1/g;

/** Pages, the chart, and what the processes say to people. */
async function texts(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const pages = ['docs/*.md', 'docs/*/*.{lua,yaml}', 'README.md'];
  const chart = ['helm/sluice/values.yaml', 'helm/sluice/templates/NOTES.txt'];
  const code = '{engine,protocol,operator,relay-image,node-agent}/src/**/*.ts';
  for await (const file of glob([...pages, ...chart, code], { cwd: root })) {
    if (/\.test\.ts$|\/src\/(sim|testing)\//.test(file)) continue;
    const text = await readFile(path.join(root, file), 'utf8');
    found.set(file, file.endsWith('.ts') ? (text.match(SENTENCE) ?? []).join('\n') : text);
  }
  return found;
}

async function fieldNames(): Promise<Set<string>> {
  const names = new Set<string>();
  for (const plural of ['distributions', 'origins']) {
    const { schema } = await crdVersion(plural);
    const { spec = {}, status = {} } = schema.openAPIV3Schema.properties ?? {};
    for (const { name } of [...fields(spec, 'spec'), ...fields(status, 'status')]) {
      names.add(name.replaceAll('[]', ''));
    }
  }
  return names;
}

describe('what texts for people name', () => {
  let all: Map<string, string>;

  beforeAll(async () => {
    all = await texts();
  });

  /** What is named, as `<file>: <name>`, and is not there. */
  function unknown(pattern: RegExp, known: ReadonlySet<string>): string[] {
    const named = [...all].flatMap(([file, text]) =>
      [...text.replaceAll('[]', '').matchAll(pattern)].map(([name]) => ({ file, name })),
    );
    expect(named.length).toBeGreaterThan(20);
    return named.filter(({ name }) => !known.has(name)).map(({ file, name }) => `${file}: ${name}`);
  }

  it('as a field is one', async () => {
    expect(unknown(FIELD, new Set([...(await fieldNames()), ...OTHERS_FIELDS]))).toEqual([]);
  });

  it('as a setting is one', async () => {
    const known = new Set((await chartSettings()).map(({ name }) => name));
    expect(unknown(SETTING, known)).toEqual([]);
  });

  it('as a reason, a condition or an event is one', () => {
    const tables = [
      ...[distributionReasons, originReasons, NODE_FAILURES, DISTRIBUTION_EVENTS],
      ...[DISTRIBUTION_CONDITIONS, ORIGIN_CONDITIONS],
    ];
    const known = new Set([...tables.flatMap((table) => Object.keys(table)), ...OTHERS_WORDS]);
    expect(unknown(WORD, known)).toEqual([]);
  });
});

describe('the settings of the chart', () => {
  /** Names of all properties that have no properties of their own. */
  function leaves(schema: ValueSchema, whole: ValueSchema, at = ''): string[] {
    return Object.keys(schema.properties ?? {}).flatMap((key) => {
      const name = `${at}${key}`;
      const inner = schemaAt(whole, name);
      return inner?.properties ? leaves(inner, whole, `${name}.`) : [name];
    });
  }

  it('are those that Helm admits, but for what is of Helm and of Kubernetes', async () => {
    const schema = await settingSchema();
    const settings = await chartSettings();
    const isSetting = (name: string) =>
      settings.some((setting) => {
        const isWithin = setting.value !== undefined && name.startsWith(`${setting.name}.`);
        return setting.name === name || isWithin;
      });
    const more = leaves(schema, schema).filter((name) => !isSetting(name));
    expect(more.filter((name) => !/^global$|\.resources\.claims$/.test(name))).toEqual([]);
    const refused = settings.filter(({ name }) => {
      const above = schemaAt(schema, name.slice(0, Math.max(0, name.lastIndexOf('.'))));
      const isFree = name.includes('.') && above !== undefined && above.properties === undefined;
      return schemaAt(schema, name) === undefined && !isFree;
    });
    expect(refused).toEqual([]);
  });
});
