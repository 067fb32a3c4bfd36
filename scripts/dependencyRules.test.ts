import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');
const packages = ['engine', 'protocol', 'operator', 'relay-image', 'node-agent', 'e2e'];

/** Files that are right: nothing in them may be reported. */
const innocent: Record<string, string> = {
  'engine/src/ports/clock.ts': 'export interface Clock { now(): number }',
  'engine/src/wire/codec.ts':
    "import bencode from 'bencode'; import type { Clock } from '../ports/clock.ts';\n" +
    'export const encode = (clock: Clock) => bencode.encode(clock);',
  'engine/src/adapters/file/disk.ts':
    "import { open } from 'node:fs/promises'; export const disk = open;",
  'engine/src/sim/virtualClock.ts':
    "import type { Clock } from '../ports/clock.ts'; export const clockOf = (clock: Clock) => clock;",
  'engine/src/testing/mutantOf.ts': "export { clockOf as mutantOf } from '../sim/virtualClock.ts';",
  'protocol/src/messages.ts':
    "import type { Clock } from '@sluice/engine/ports/clock.ts';\n" +
    'export type Stamped = { clock: Clock }; export const VERSION = 1;',
  'operator/src/api/v1alpha1/reasons.ts': "export const READY = 'Ready';",
  'operator/src/policies/ready.ts':
    "import { VERSION } from '@sluice/protocol/messages.ts';\n" +
    "import { READY } from '../api/v1alpha1/reasons.ts'; export const ready = [READY, VERSION];",
  'operator/src/quota/ledger.ts': 'export const apply = 1;',
  'operator/src/quota/journal.ts':
    "import { MongoClient } from 'mongodb'; export const journal = MongoClient;",
  'node-agent/src/agent.ts':
    "import { encode } from '@sluice/engine/wire/codec.ts'; export const agent = encode;",
  'node-agent/src/main.ts': "import { agent } from './agent.ts'; agent;",
  'e2e/cluster/cluster.ts': "export const cluster = 'cluster';",
  'operator/src/store/store.integration.test.ts':
    "import { cluster } from '../../../e2e/cluster/cluster.ts'; cluster;",
};

/** One row a way to break a rule; every rule of the configuration has at least one. */
const planted: { rule: string; what: string; file: string; source: string }[] = [
  {
    rule: 'engine-imports-nothing-of-ours',
    what: 'the engine importing the protocol',
    file: 'engine/src/session/a.ts',
    source: "export { VERSION } from '@sluice/protocol/messages.ts';",
  },
  {
    rule: 'engine-imports-nothing-of-ours',
    what: 'the engine importing a mere type of the operator',
    file: 'engine/src/session/b.ts',
    source: "export type { READY } from '../../../operator/src/api/v1alpha1/reasons.ts';",
  },
  {
    rule: 'protocol-imports-only-types-of-engine',
    what: 'the protocol importing code of the engine',
    file: 'protocol/src/a.ts',
    source: "export { encode } from '@sluice/engine/wire/codec.ts';",
  },
  {
    rule: 'protocol-imports-no-program',
    what: 'the protocol importing the agent',
    file: 'protocol/src/b.ts',
    source: "export { agent } from '@sluice/node-agent/agent.ts';",
  },
  {
    rule: 'programs-do-not-import-each-other',
    what: 'the relay importing the agent',
    file: 'relay-image/src/a.ts',
    source: "export { agent } from '@sluice/node-agent/agent.ts';",
  },
  {
    rule: 'programs-do-not-import-each-other',
    what: 'the agent importing the operator',
    file: 'node-agent/src/b.ts',
    source: "export { READY } from '../../operator/src/api/v1alpha1/reasons.ts';",
  },
  {
    rule: 'programs-do-not-import-each-other',
    what: 'the operator importing a mere type of the agent',
    file: 'operator/src/server/a.ts',
    source: "export type { agent } from '@sluice/node-agent/agent.ts';",
  },
  {
    rule: 'products-import-no-tools',
    what: 'the relay importing the test cluster',
    file: 'relay-image/src/b.ts',
    source: "export { cluster } from '../../e2e/cluster/cluster.ts';",
  },
  {
    rule: 'products-import-no-tests',
    what: 'shipped code importing vitest',
    file: 'engine/src/session/c.ts',
    source: "export { expect } from 'vitest';",
  },
  {
    rule: 'products-import-no-tests',
    what: 'shipped code importing a test',
    file: 'operator/src/store/a.ts',
    source: "import './store.integration.test.ts';",
  },
  {
    rule: 'products-import-no-simulation',
    what: 'the session importing the simulation',
    file: 'engine/src/session/d.ts',
    source: "export { clockOf } from '../sim/virtualClock.ts';",
  },
  {
    rule: 'products-import-no-testing',
    what: 'a session importing what tests share',
    file: 'engine/src/session/e.ts',
    source: "export { mutantOf } from '../testing/mutantOf.ts';",
  },
  {
    rule: 'simulation-touches-nothing-real',
    what: 'the simulation opening a socket',
    file: 'engine/src/sim/a.ts',
    source: "export { connect } from 'node:net';",
  },
  {
    rule: 'simulation-touches-nothing-real',
    what: 'the simulation using the real disk',
    file: 'engine/src/sim/b.ts',
    source: "export { disk } from '../adapters/file/disk.ts';",
  },
  ...[
    'engine/src/wire',
    'engine/src/pieces',
    'engine/src/swarm',
    'engine/src/topup',
    'engine/src/pacing',
    'operator/src/policies',
    'operator/src/tracker',
  ].map((folder) => ({
    rule: 'pure-imports-no-node-modules',
    what: `a node module in ${folder}`,
    file: `${folder}/impure.ts`,
    source: "import { createHash } from 'node:crypto'; export const impure = createHash;",
  })),
  {
    rule: 'pure-imports-no-node-modules',
    what: 'a node module in operator/src/quota/allocate.ts',
    file: 'operator/src/quota/allocate.ts',
    source: "import { hrtime } from 'node:process'; export const allocate = hrtime;",
  },
  {
    rule: 'pure-imports-no-effects',
    what: 'a logger in pure code',
    file: 'operator/src/policies/logs.ts',
    source: "import winston from 'winston'; export const log = winston;",
  },
  {
    rule: 'pure-imports-no-effects',
    what: 'a client in pure code',
    file: 'operator/src/tracker/client.ts',
    source: "import { KubeConfig } from '@kubernetes/client-node'; export const k = KubeConfig;",
  },
  {
    rule: 'pure-imports-no-effects',
    what: 'the journal in pure code',
    file: 'operator/src/policies/grants.ts',
    source: "export { journal } from '../quota/journal.ts';",
  },
  {
    rule: 'pure-imports-no-effects',
    what: 'an adapter in pure code',
    file: 'engine/src/swarm/disk.ts',
    source: "export { disk } from '../adapters/file/disk.ts';",
  },
  {
    rule: 'nothing-imports-main',
    what: 'a module importing main.ts',
    file: 'node-agent/src/c.ts',
    source: "import './main.ts';",
  },
  {
    rule: 'no-cycles',
    what: 'two modules importing each other',
    file: 'operator/src/server/b.ts',
    source: "import { c } from './c.ts'; export const b = () => c;",
  },
  {
    rule: 'every-import-resolves',
    what: 'an import of a file that is not there',
    file: 'operator/src/server/d.ts',
    source: "import './nowhere.ts';",
  },
];

/** The other half of the planted cycle. */
const partner = {
  'operator/src/server/c.ts': "import { b } from './b.ts'; export const c = () => b;",
};

interface CruiseResult {
  summary: { violations: { from: string; rule: { name: string } }[]; totalCruised: number };
}

describe('the import rules', () => {
  let folder: string;
  let violations: { from: string; rule: string }[];

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'sluice-rules-'));
    for (const file of ['.dependency-cruiser.cjs', 'tsconfig.json', 'package.json']) {
      await cp(path.join(root, file), path.join(folder, file));
    }
    await linkNodeModules(folder);
    for (const name of packages) {
      await mkdir(path.join(folder, name), { recursive: true });
      await cp(path.join(root, name, 'package.json'), path.join(folder, name, 'package.json'));
    }
    const sources = {
      ...innocent,
      ...partner,
      ...Object.fromEntries(planted.map((p) => [p.file, p.source])),
    };
    for (const [file, source] of Object.entries(sources)) {
      await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
      await writeFile(path.join(folder, file), `${source}\n`);
    }
    violations = await cruise(folder);
  }, 60_000);

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  it.each(planted)('catch $what ($rule)', ({ rule, file }) => {
    expect(violations.filter((v) => v.from === file).map((v) => v.rule)).toContain(rule);
  });

  it('report nothing in files that keep them', () => {
    expect(violations.filter((v) => v.from in innocent)).toEqual([]);
  });

  it('each have a planted violation', () => {
    const config = createRequire(import.meta.url)(path.join(root, '.dependency-cruiser.cjs'));
    const rules = config.forbidden.map((rule: { name: string }) => rule.name);
    expect([...new Set(planted.map((p) => p.rule))].sort()).toEqual([...rules].sort());
  });
});

/** Third-party packages are the checkout's; our own must resolve to the temporary copy. */
async function linkNodeModules(folder: string): Promise<void> {
  const modules = path.join(folder, 'node_modules');
  await mkdir(path.join(modules, '@sluice'), { recursive: true });
  for (const name of packages) {
    await symlink(path.join(folder, name), path.join(modules, '@sluice', name));
  }
  for (const name of ['bencode', '@sinclair', '@kubernetes', 'mongodb', 'vitest', 'winston']) {
    await symlink(path.join(root, 'node_modules', name), path.join(modules, name));
  }
}

async function cruise(folder: string): Promise<{ from: string; rule: string }[]> {
  const bin = path.join(root, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');
  const args = [bin, '--config', '.dependency-cruiser.cjs', '--output-type', 'json', ...packages];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: folder,
    maxBuffer: 64 * 1024 * 1024,
    timeout: 60_000,
  }).catch((error: { stdout: string; stderr: string }) => {
    // The exit code is the number of errors found, which here is what we want.
    if (!error.stdout) throw new Error(`dependency-cruiser failed: ${error.stderr}`);
    return error;
  });
  const result = JSON.parse(stdout) as CruiseResult;
  return result.summary.violations.map((v) => ({ from: v.from, rule: v.rule.name }));
}
