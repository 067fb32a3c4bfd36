/** The programs of the host that the test cluster needs, from Debian's or Ubuntu's packages. */
import { access, chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { Progress } from './progress.ts';
import { isInstalled, run } from './run.ts';

/** Package -> what shows that it is there: a program, or a file when it starts with `/`. */
const PACKAGES: Readonly<Record<string, string>> = {
  containerd: 'containerd',
  runc: 'runc',
  'containernetworking-plugins': '/usr/lib/cni/ptp',
  iproute2: 'tc',
  iptables: 'iptables',
  socat: 'socat',
  conntrack: 'conntrack',
  'nginx-light': 'nginx',
  buildah: 'buildah',
  mmdebstrap: 'mmdebstrap',
  openssl: 'openssl',
  'util-linux': 'nsenter',
  mount: 'mount',
  curl: 'curl',
  'ca-certificates': '/etc/ssl/certs/ca-certificates.crt',
};

const INSTALL_TIMEOUT_MS = 15 * 60_000;

export interface InstallOptions {
  readonly log?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Installs what is missing, or says exactly what to install. */
export async function installHostPackages(options: InstallOptions = {}): Promise<void> {
  const missing = await missingPackages();
  if (missing.length === 0) return requireRoot();
  const command = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  const isRoot = process.getuid?.() === 0;
  if (!isRoot || !(await isDebian())) {
    throw new Error(
      `the test cluster needs programs that are not installed: ${missing.join(', ')}. ` +
        (isRoot ? 'On Debian or Ubuntu that is' : 'Run as root, or install them first') +
        `: ${command}`,
    );
  }
  const progress = new Progress('host packages', options.log);
  progress.update(`installing ${missing.join(' ')}`);
  try {
    await withoutStartingServices(async () => {
      const env = { DEBIAN_FRONTEND: 'noninteractive' };
      const limits = { env, signal: options.signal, timeoutMs: INSTALL_TIMEOUT_MS };
      await run('apt-get', ['update', '-q'], limits);
      await run('apt-get', ['install', '-qy', '--no-install-recommends', ...missing], limits);
    });
  } catch (error) {
    progress.stop();
    throw new Error(`host packages could not be installed; try by hand: ${command}`, {
      cause: error,
    });
  }
  progress.done(`installed ${missing.length}`);
}

function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new Error('the test cluster makes namespaces and mounts: run it as root');
}

async function missingPackages(): Promise<string[]> {
  const found = await Promise.all(
    Object.entries(PACKAGES).map(async ([name, sign]) => {
      const there = sign.startsWith('/')
        ? await access(sign).then(
            () => true,
            () => false,
          )
        : await isInstalled(sign);
      return there ? [] : [name];
    }),
  );
  return found.flat();
}

async function isDebian(): Promise<boolean> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release) && (await isInstalled('apt-get'));
}

const POLICY = '/usr/sbin/policy-rc.d';

/** Debian asks this program whether a package may start its service: none may. */
async function withoutStartingServices(work: () => Promise<void>): Promise<void> {
  const ours = await writeFile(POLICY, '#!/bin/sh\nexit 101\n', { flag: 'wx' }).then(
    () => true,
    () => false,
  );
  if (ours) await chmod(POLICY, 0o755);
  try {
    await work();
  } finally {
    if (ours) await rm(POLICY, { force: true });
  }
}
