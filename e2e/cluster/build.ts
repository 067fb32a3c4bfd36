/**
 * Builds the programs of the test cluster, once, into a folder of the cache that is named after
 * all that goes into them. A build that is interrupted leaves nothing that looks finished.
 */
import { createHash } from 'node:crypto';
import { access, glob, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { cacheFolder } from './paths.ts';
import { Progress } from './progress.ts';
import { run } from './run.ts';

export interface BuildOptions {
  readonly log?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const binariesFolder = path.join(import.meta.dirname, 'binaries');
const KUBERNETES_VERSION = 'v1.34.4';

/** The small programs change more often than the big ones, and must not cost their minutes. */
const GROUPS = {
  cluster: {
    module: binariesFolder,
    modFiles: ['go.mod', 'go.sum'],
    packages: [
      ...['apiserver', 'controller-manager', 'scheduler', 'proxy'].map(
        (name) => `k8s.io/kubernetes/cmd/kube-${name}`,
      ),
      'k8s.io/kubernetes/cmd/kubelet',
      'k8s.io/kubernetes/cmd/kubectl',
      'helm.sh/helm/v4/cmd/helm',
      './cmd/etcd',
      './cmd/ferretdb',
      './cmd/coredns',
    ],
    sources: ['cmd/etcd', 'cmd/ferretdb', 'cmd/coredns'],
  },
  tools: {
    module: binariesFolder,
    modFiles: [],
    packages: ['./cmd/meter', './cmd/pause', './cmd/clusterinit'],
    sources: ['cmd/meter', 'cmd/pause', 'cmd/clusterinit'],
  },
  kstatus: {
    module: path.join(import.meta.dirname, '../health/kstatus'),
    modFiles: ['go.mod', 'go.sum'],
    packages: ['.'],
    sources: ['.'],
  },
} as const;

type Group = keyof typeof GROUPS;

/** Folder with etcd, kube-*, kubelet, kubectl, helm, coredns and ferretdb. */
export function buildClusterBinaries(options: BuildOptions = {}): Promise<string> {
  return build('cluster', options);
}

/** Folder with the own small programs: meter, pause, clusterinit. They build in seconds. */
export function buildTools(options: BuildOptions = {}): Promise<string> {
  return build('tools', options);
}

/** Folder with `kstatus`, which says what that library says of objects. */
export function buildKstatus(options: BuildOptions = {}): Promise<string> {
  return build('kstatus', options);
}

async function build(group: Group, { log, signal }: BuildOptions): Promise<string> {
  const folder = path.join(cacheFolder(), `${group}-${await hashOfInputs(group)}`);
  const bin = path.join(folder, 'bin');
  if (await exists(bin)) return bin;
  await requireGo();

  await mkdir(cacheFolder(), { recursive: true });
  // Not named `cluster-...`: others look for finished builds by that prefix.
  const unfinished = await mkdtemp(path.join(cacheFolder(), '.building-'));
  const progress = new Progress(`build of the ${group}`, log);
  try {
    if (group === 'cluster') await download(progress, signal);
    await compile(group, path.join(unfinished, 'bin'), progress, signal);
    await rename(unfinished, folder).catch(async (error: NodeJS.ErrnoException) => {
      // Another run was quicker: its result is the same.
      if (!(await exists(bin))) throw error;
    });
    progress.done('done');
    return bin;
  } catch (error) {
    progress.stop();
    throw error;
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

async function download(progress: Progress, signal: AbortSignal | undefined): Promise<void> {
  let modules = 0;
  progress.update('step 1 of 2, downloading Go modules');
  await go(['mod', 'download', '-x'], {
    signal,
    module: binariesFolder,
    onLine: (line) => {
      if (!/get https?:.*\.zip/.test(line)) return;
      modules += 1;
      progress.update(`step 1 of 2, downloading Go modules, ${modules} so far`);
    },
  });
}

async function compile(
  group: Group,
  into: string,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<void> {
  const step = group === 'cluster' ? 'step 2 of 2, ' : '';
  const flags = ['-tags', 'ferretdb_no_postgresql,ferretdb_no_mysql'];
  const { packages, module } = GROUPS[group];
  const all = await go(['list', '-deps', ...flags, ...packages], { signal, module });
  const total = all.trim().split('\n').length;
  let compiled = 0;
  progress.update(`${step}compiling ${total} packages`);
  await mkdir(into, { recursive: true });
  await go(
    [
      'build',
      '-v',
      '-trimpath',
      '-buildvcs=false',
      ...flags,
      `-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=${KUBERNETES_VERSION}`,
      '-o',
      `${into}/`,
      ...packages,
    ],
    {
      signal,
      module,
      onLine: () => {
        compiled += 1;
        const percent = Math.min(99, Math.floor((100 * compiled) / total));
        progress.update(`${step}compiled ${compiled} of ${total} packages, ${percent} %`);
      },
    },
  );
}

/** Downloading and building from nothing takes about 8 minutes on two cores. */
const GO_TIMEOUT_MS = 40 * 60_000;

function go(
  args: readonly string[],
  {
    module,
    ...options
  }: { signal: AbortSignal | undefined; module: string; onLine?: (line: string) => void },
): Promise<string> {
  return run('go', args, {
    ...options,
    cwd: module,
    env: {
      CGO_ENABLED: '0',
      GOFLAGS: '-mod=readonly',
      PATH: `${process.env.PATH}:/usr/local/go/bin`,
    },
    timeoutMs: GO_TIMEOUT_MS,
  });
}

async function requireGo(): Promise<void> {
  const asked = { signal: undefined, module: binariesFolder };
  const version = await go(['version'], asked).catch(() => '');
  const [, major = '0', minor = '0'] = /go(\d+)\.(\d+)/.exec(version) ?? [];
  if (Number(major) > 1 || (Number(major) === 1 && Number(minor) >= 24)) return;
  const found = version === '' ? 'is missing' : `is too old (${version.trim()})`;
  throw new Error(
    `go ${found}: the test cluster is built with Go 1.24 or later. Install it from ` +
      'https://go.dev/doc/install (to /usr/local/go), or on Debian 13 and Ubuntu 25.04 or later ' +
      'with: apt-get install golang-go',
  );
}

async function hashOfInputs(group: Group): Promise<string> {
  const { module, modFiles, packages, sources } = GROUPS[group];
  const files: string[] = [...modFiles];
  for (const folder of sources) {
    for await (const file of glob(`${folder}/**/*.go`, { cwd: module })) files.push(file);
  }
  const hash = createHash('sha256');
  hash.update(JSON.stringify([process.arch, KUBERNETES_VERSION, packages]));
  for (const file of files.sort()) {
    hash.update(`${file}\0`).update(await readFile(path.join(module, file)));
  }
  return hash.digest('hex').slice(0, 16);
}

function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
