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

/** Installs what is missing for the test cluster, or says exactly what to install. */
export function installHostPackages(options: InstallOptions = {}): Promise<void> {
  return installPackages('the test cluster', PACKAGES, options);
}

/** `packages`: by name, what shows that one is there: a program, or a file that begins with `/`. */
export async function installPackages(
  user: string,
  packages: Readonly<Record<string, string>>,
  options: InstallOptions = {},
): Promise<void> {
  const missing = await missingOf(packages);
  if (missing.length === 0) return requireRoot(user);
  const command = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  const isRoot = process.getuid?.() === 0;
  if (!isRoot || !(await isDebian())) {
    throw new Error(
      `${user} needs programs that are not installed: ${missing.join(', ')}. ` +
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

function requireRoot(user: string): void {
  if (process.getuid?.() === 0) return;
  throw new Error(`${user} makes namespaces and mounts: run it as root`);
}

async function missingOf(packages: Readonly<Record<string, string>>): Promise<string[]> {
  const found = await Promise.all(
    Object.entries(packages).map(async ([name, sign]) => {
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
