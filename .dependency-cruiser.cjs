/**
 * Who may import whom. `make verify` runs these rules; scripts/dependencyRules.test.ts
 * plants a violation of each and checks that it is caught.
 */

/** What a package ships: its sources without its tests, and what those share. */
const TEST = '\\.test\\.ts$';
const TESTING = '/testing/';
const PACKAGES = '^(engine|protocol|operator|relay-image|node-agent)/';

/** Folders of decisions: the same input always gives the same output. */
const PURE =
  '^(engine/src/(wire|pieces|swarm|topup|pacing)/|operator/src/(policies|tracker)/|operator/src/quota/(ledger|allocate|coverage|charges|persistentMap|marks|trafficHistory)\\.ts$|operator/src/store/schema\\.ts$)';

/** What pure code may use at run time besides other pure code: shapes, constants and codecs. */
const PURE_MAY_USE = `${PURE}|^operator/src/api/|^protocol/src/[a-zA-Z]+\\.ts$|(^|/)node_modules/(bencode|bitfield|@sinclair/typebox)/`;

module.exports = {
  forbidden: [
    {
      name: 'engine-imports-nothing-of-ours',
      comment:
        'The engine knows files, pieces, peers, time and bytes; no Kubernetes and no protocol.',
      severity: 'error',
      from: { path: '^engine/src/' },
      to: { path: '^(protocol|operator|relay-image|node-agent)/' },
    },
    {
      name: 'protocol-imports-only-types-of-engine',
      severity: 'error',
      from: { path: '^protocol/src/' },
      to: { path: '^engine/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'protocol-imports-no-program',
      severity: 'error',
      from: { path: '^protocol/src/' },
      to: { path: '^(operator|relay-image|node-agent)/' },
    },
    {
      name: 'programs-do-not-import-each-other',
      comment: 'What operator, relay and agent share lives in protocol or engine.',
      severity: 'error',
      from: { path: '^(operator|relay-image|node-agent)/src/' },
      to: { path: '^(operator|relay-image|node-agent)/', pathNot: '^$1/' },
    },
    {
      name: 'products-import-no-tools',
      comment: 'e2e, bench and scripts use the packages, never the other way round; tests may.',
      severity: 'error',
      from: { path: PACKAGES, pathNot: TEST },
      to: { path: '^(e2e|bench|scripts)/' },
    },
    {
      name: 'products-import-no-tests',
      severity: 'error',
      from: { path: PACKAGES, pathNot: TEST },
      to: { path: `${TEST}|(^|/)node_modules/(vitest|fast-check)/` },
    },
    {
      name: 'products-import-no-simulation',
      comment: 'sim/ is for tests and benchmarks; nothing that is shipped knows of it.',
      severity: 'error',
      from: { path: PACKAGES, pathNot: `${TEST}|${TESTING}|^(engine|operator)/src/sim/` },
      to: { path: '^(engine|operator)/src/sim/' },
    },
    {
      name: 'products-import-no-testing',
      comment: 'Folders called testing/ hold what several tests share.',
      severity: 'error',
      from: { path: PACKAGES, pathNot: `${TEST}|${TESTING}` },
      to: { path: TESTING },
    },
    {
      name: 'simulation-touches-nothing-real',
      comment: 'No socket, file or timer: a world follows from its seed.',
      severity: 'error',
      from: { path: '^(engine|operator)/src/sim/', pathNot: TEST },
      to: {
        path: '^(node:)?(net|fs|http|https|dgram|timers|child_process|worker_threads)|^engine/src/adapters/',
      },
    },
    {
      name: 'pure-imports-no-node-modules',
      comment: 'Time, randomness, files and sockets come through ports.',
      severity: 'error',
      from: { path: PURE, pathNot: TEST },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'pure-imports-no-effects',
      comment: 'Pure code uses pure code, shapes and codecs; of everything else the types at most.',
      severity: 'error',
      from: { path: PURE, pathNot: TEST },
      to: {
        pathNot: PURE_MAY_USE,
        dependencyTypesNot: ['type-only', 'core'],
      },
    },
    {
      name: 'nothing-imports-main',
      comment: 'main.ts wires a process together; what others need lives beside it.',
      severity: 'error',
      from: {},
      to: { path: '/src/main\\.ts$' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'every-import-resolves',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    combinedDependencies: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['node', 'import', 'types', 'default'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json', '.node', '.d.ts'],
    },
    skipAnalysisNotInRules: true,
  },
};
