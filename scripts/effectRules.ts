/**
 * Rules about effects that an import graph does not show: who may read the environment, end the
 * process, look at the clock, set timers, roll dice or fetch. Everything else takes a Clock, a
 * Random or a client from outside, so that it can be tested and simulated.
 *
 * Reads the syntax only (no types), so it is fast and needs no build.
 */
import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import path from 'node:path';
import ts from 'typescript';

export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

interface Rule {
  readonly name: string;
  /** Files, relative to the repository, where the effect is at home. */
  readonly allowed: RegExp;
  /** Global names, `object.member` pairs, or modules. */
  readonly globals?: readonly string[];
  readonly members?: readonly string[];
  readonly modules?: readonly string[];
  readonly remedy: string;
}

const MAIN = '/src/main\\.ts$';

/** Where effects on the outside world live: adapters, the operator's edges and the control client. */
const EDGES = `^[a-z-]+/src/(.+/)?adapters/|^operator/src/(kube|server|store)/|^protocol/src/client/|${MAIN}`;

const RULES: readonly Rule[] = [
  {
    name: 'environment-in-config',
    allowed: /\/src\/(testing\/)?config\.ts$/,
    members: ['process.env'],
    remedy: 'read it in config.ts and pass the value on',
  },
  {
    name: 'exit-in-main',
    allowed: new RegExp(MAIN),
    members: ['process.exit', 'process.abort', 'process.kill'],
    remedy: 'throw, and let main.ts decide how the process ends',
  },
  {
    name: 'clock-at-the-edges',
    allowed: new RegExp(EDGES),
    globals: ['setTimeout', 'setInterval', 'setImmediate'],
    members: [
      'Date.now',
      'performance.now',
      'process.hrtime',
      'process.uptime',
      'AbortSignal.timeout',
    ],
    modules: [
      'node:timers',
      'node:timers/promises',
      'node:perf_hooks',
      'timers',
      'timers/promises',
    ],
    remedy: 'take an injected Clock',
  },
  {
    name: 'randomness-at-the-edges',
    allowed: new RegExp(EDGES),
    members: ['Math.random'],
    remedy: 'take an injected Random',
  },
  {
    name: 'fetch-at-the-edges',
    allowed: new RegExp(EDGES),
    globals: ['fetch'],
    remedy: 'take a client from outside',
  },
];

/** The names, for the test that plants a violation of each. */
export const effectRuleNames: readonly string[] = RULES.map((rule) => rule.name);

/** `file` is the path in the repository, with forward slashes. */
export function checkSource(file: string, source: string): Violation[] {
  const rules = RULES.filter((rule) => !rule.allowed.test(file));
  if (rules.length === 0) return [];
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.ESNext, true);
  const violations: Violation[] = [];

  const report = (node: ts.Node, rule: Rule, what: string): void => {
    const line = tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
    violations.push({ file, line, rule: rule.name, message: `${what}: ${rule.remedy}` });
  };

  const visit = (node: ts.Node): void => {
    for (const rule of rules) {
      const what = effectOf(node, rule);
      if (what !== undefined) report(node, rule, what);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return violations;
}

function effectOf(node: ts.Node, rule: Rule): string | undefined {
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
    const { text } = node.expression;
    const name = `${text}.${node.name.text}`;
    if (rule.members?.includes(name)) return name;
    if (text === 'globalThis' && rule.globals?.includes(node.name.text)) return name;
  }
  if (ts.isNewExpression(node) && rule.members?.includes('Date.now')) {
    const isNow = ts.isIdentifier(node.expression) && node.expression.text === 'Date';
    if (isNow && (node.arguments ?? []).length === 0) return 'new Date()';
  }
  if (ts.isIdentifier(node) && rule.globals?.includes(node.text) && isUse(node)) return node.text;
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    const { text } = node.moduleSpecifier;
    if (
      rule.modules?.includes(text) &&
      node.importClause?.phaseModifier !== ts.SyntaxKind.TypeKeyword
    ) {
      return `import of ${text}`;
    }
  }
  return undefined;
}

/** A use of the global, as opposed to a property, a parameter or a type that has the same name. */
function isUse(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isCallExpression(parent) || ts.isNewExpression(parent)) return true;
  if (ts.isShorthandPropertyAssignment(parent)) return true;
  if (ts.isPropertyAssignment(parent) || ts.isVariableDeclaration(parent)) {
    return parent.initializer === node;
  }
  return ts.isBinaryExpression(parent) || ts.isConditionalExpression(parent);
}

/** All that the packages ship: their sources without tests. */
export async function checkPackages(root: string): Promise<Violation[]> {
  const violations: Violation[] = [];
  const pattern = '{engine,protocol,operator,relay-image,node-agent}/src/**/*.ts';
  for await (const file of glob(pattern, { cwd: root })) {
    if (file.endsWith('.test.ts')) continue;
    const name = file.split(path.sep).join('/');
    violations.push(...checkSource(name, readFileSync(path.join(root, file), 'utf8')));
  }
  return violations;
}

if (import.meta.main) {
  const violations = await checkPackages(path.resolve(import.meta.dirname, '..'));
  for (const { file, line, rule, message } of violations) {
    console.error(`${file}:${line} ${message} (${rule})`);
  }
  process.exitCode = violations.length > 0 ? 1 : 0;
}
