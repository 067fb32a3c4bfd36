/** What benchmarks over shaped links need of the machine. */
import { installPackages } from '../../e2e/cluster/install.ts';

const PACKAGES: Readonly<Record<string, string>> = {
  'nginx-light': 'nginx',
  curl: 'curl',
  aria2: 'aria2c',
  'python3-libtorrent': '/usr/share/doc/python3-libtorrent',
  iproute2: 'tc',
  iptables: 'iptables',
  'util-linux': 'nsenter',
  mount: 'mount',
  tcpdump: 'tcpdump',
};

/** Installs what is missing, or says exactly what to install. */
export function installBenchPackages(signal: AbortSignal): Promise<void> {
  return installPackages('the benchmark', PACKAGES, { signal });
}
