/**
 * One node: containerd, kubelet and kube-proxy in mount, process and host-name namespaces of their
 * own, so that /run, /var/lib and /var/log are the node's own and one kill is a power cut.
 */
import { chmod, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { joinScript, makeNodeGroups, removeGroups, setFrozen } from './cgroups.ts';
import { BIN, kubeconfigFile, STATE, TOOLS } from './controlPlane.ts';
import { copyDisk } from './imageDisk.ts';
import {
  allowCubic,
  DNS_ADDRESS,
  type LinkRate,
  nodeAddress,
  POD_CIDR,
  podCidr,
  setConnected,
  setLinkRate,
} from './network.ts';
import {
  type Daemon,
  isAlive,
  killProcess,
  type ProcessId,
  type Sandbox,
  startInit,
} from './sandbox.ts';

export const PAUSE_IMAGE = 'sluice.test/pause:1';

export interface NodeOptions {
  readonly clusterName: string;
  /** 1 for the first. */
  readonly index: number;
  readonly name: string;
  readonly zone: string;
  readonly stateFolder: string;
}

export class ClusterNode {
  readonly name: string;
  readonly zone: string;
  readonly address: string;
  private readonly options: NodeOptions;
  private readonly sandbox: Sandbox;
  private readonly onChange: () => Promise<void>;
  private init: ProcessId | undefined;
  private running: Daemon[] = [];

  /** `onChange` is told when the node's first process is another one. */
  constructor(options: NodeOptions, sandbox: Sandbox, onChange: () => Promise<void>) {
    this.options = options;
    this.sandbox = sandbox;
    this.onChange = onChange;
    this.name = options.name;
    this.zone = options.zone;
    this.address = nodeAddress(options.index);
  }

  /** The first process of the node's namespaces; undefined while it is powered off. */
  get process(): ProcessId | undefined {
    return this.init;
  }

  /** Takes over a node that another process started. */
  attach(init: ProcessId | undefined): void {
    this.init = init;
  }

  setLinkRate(rate: LinkRate): Promise<void> {
    return setLinkRate(this.sandbox, this.name, rate);
  }

  cutOff(): Promise<void> {
    return setConnected(this.sandbox, this.name, false);
  }

  reconnect(): Promise<void> {
    return setConnected(this.sandbox, this.name, true);
  }

  async freeze(): Promise<void> {
    await setFrozen(this.options.clusterName, this.name, true);
  }

  async thaw(): Promise<void> {
    await setFrozen(this.options.clusterName, this.name, false);
  }

  /** Power off: every process of the node is killed at once, its containers too. The disk stays. */
  async stop(): Promise<void> {
    const init = this.init;
    if (init === undefined) return;
    const killed = killProcess(init);
    // What is frozen does not die.
    await this.letDie();
    await killed;
    this.init = undefined;
    this.running = [];
    await this.onChange();
  }

  /** Before the whole cluster is killed: what is frozen does not die. */
  async letDie(): Promise<void> {
    await setFrozen(this.options.clusterName, this.name, false).catch(() => {});
  }

  /**
   * As after an installation, while it is powered off: nothing of pods, volumes and logs is left. The
   * images stay, which nobody here could pull again.
   */
  async emptyDisk(): Promise<void> {
    if (this.init !== undefined) throw new Error(`node ${this.name} is powered on`);
    const kept = path.join(this.folder, 'lib/containerd');
    for (const top of ['lib', 'log']) {
      for (const name of await readdir(path.join(this.folder, top))) {
        const entry = path.join(this.folder, top, name);
        if (entry !== kept) await rm(entry, { recursive: true, force: true });
      }
    }
  }

  async hasImage(name: string): Promise<boolean> {
    const said = await this.run('ctr', ['-n', 'k8s.io', 'images', 'list', '-q', `name==${name}`]);
    return said.trim() !== '';
  }

  /** Puts a docker-archive, named as the node sees it, into containerd. */
  async importImage(file: string): Promise<void> {
    const args = ['-n', 'k8s.io', 'images', 'import', '--digests=false', file];
    await this.run('ctr', args);
  }

  /** Power on. Resolves when the processes run; the node is Ready some seconds later. */
  async start(): Promise<void> {
    await this.startRuntime();
    await this.startKubelet();
  }

  /** Where a file of this node, under /var/lib or /var/log, is for a process outside it. */
  hostPath(file: string): string {
    const [, , top, ...rest] = path.posix.normalize(file).split('/');
    if (!file.startsWith('/var/') || (top !== 'lib' && top !== 'log')) {
      throw new Error(`only /var/lib and /var/log are a node's own, not ${file}`);
    }
    return path.join(this.folder, top, ...rest);
  }

  /** Processes that this object started and that should run. */
  daemons(): readonly Daemon[] {
    return this.running;
  }

  /** Runs a program among the node's own processes. */
  async run(program: string, args: readonly string[], input?: NodeInput): Promise<string> {
    const options = { timeoutMs: 300_000, ...input };
    return this.sandbox.run({ process: this.powered() }, program, args, options);
  }

  /** The namespaces and containerd, at first with a copy of `disk`; needs no API server. */
  async startRuntime(disk?: string): Promise<void> {
    if (this.init !== undefined && (await isAlive(this.init))) return;
    await this.writeFiles();
    if (disk !== undefined) await copyDisk(disk, path.join(this.folder, 'lib/containerd'));
    // A machine that was switched off has none; the kubelet waits for those of dead containers.
    await removeGroups(`${this.options.clusterName}/${this.name}`);
    await makeNodeGroups(this.options.clusterName, this.name);
    const unshare = ['--mount', '--pid', '--fork', '--kill-child', '--uts', '--mount-proc'];
    this.init = await startInit({
      argv: this.sandbox.argv({ network: this.name }, 'unshare', [
        ...unshare,
        ...['--propagation', 'private', 'bash', '-c', this.setUpScript()],
      ]),
      holdStdin: false,
    });
    await this.onChange();
    this.running = [
      await this.daemon('containerd', 'containerd', [
        `--config=${this.inside}/containerd.toml`,
        '--log-level=warn',
      ]),
    ];
    await this.untilRuntimeReady();
  }

  /** Kubelet and kube-proxy, once the API server knows their identities. */
  async startKubelet(): Promise<void> {
    this.running.push(
      await this.daemon('kubelet', `${BIN}/kubelet`, [
        `--config=${this.inside}/kubelet.yaml`,
        `--kubeconfig=${STATE}/${kubeconfigFile(this.name)}`,
        `--hostname-override=${this.name}`,
        `--node-ip=${this.address}`,
        `--node-labels=topology.kubernetes.io/zone=${this.zone}`,
      ]),
      await this.daemon('kube-proxy', `${BIN}/kube-proxy`, [`--config=${this.inside}/proxy.yaml`]),
    );
  }

  private get folder(): string {
    return path.join(this.options.stateFolder, 'nodes', this.name);
  }

  /** The node's folder as its own processes see it. */
  private get inside(): string {
    return `${STATE}/nodes/${this.name}`;
  }

  private get group(): string {
    return `/${this.options.clusterName}/${this.name}`;
  }

  private powered(): ProcessId {
    if (this.init === undefined) throw new Error(`node ${this.name} is powered off`);
    return this.init;
  }

  private daemon(name: string, program: string, args: readonly string[]): Promise<Daemon> {
    const log = path.join(this.options.stateFolder, `logs/${this.name}-${name}.log`);
    const join = `${joinScript(this.options.clusterName, this.name)}\nexec "$@"`;
    const command = ['-c', join, name, program, ...args];
    return this.sandbox.daemon({ process: this.powered() }, name, log, 'bash', command);
  }

  private async untilRuntimeReady(): Promise<void> {
    await this.run('bash', [
      '-c',
      'for i in $(seq 300); do ctr version >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1',
    ]);
  }

  private setUpScript(): string {
    const { inside } = this;
    return `
set -e
${joinScript(this.options.clusterName, this.name)}
hostname ${this.name}
# /run: empty, but for the way back to the cluster's folder and the network namespaces.
mount -n -t tmpfs -o mode=755 tmpfs /run/sluice/mounts
mkdir -p /run/sluice/mounts/sluice /run/sluice/mounts/lock
mount -n --rbind /run/sluice /run/sluice/mounts/sluice
mount -n --move /run/sluice/mounts /run
mount -n --bind ${inside}/lib /var/lib
mount -n --bind ${inside}/log /var/log
# The kubelet sets these for its node; here they would be the machine's own.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \\
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  copy=/run/sysctl-$(basename $name)
  cat /proc/sys/$name >$copy
  mount -n --bind $copy /proc/sys/$name
done
mount -n --make-rshared /
echo ready
exec ${TOOLS}/clusterinit >/dev/null 2>&1
`;
  }

  private async writeFiles(): Promise<void> {
    const { folder } = this;
    for (const name of ['lib/kubelet', 'lib/containerd', 'lib/cni', 'lib/sluice', 'log', 'cni']) {
      await mkdir(path.join(folder, name), { recursive: true });
    }
    const database = path.join(folder, 'lib/sluice-db');
    await mkdir(database, { recursive: true });
    for (const volume of ['volume-1', 'volume-2']) {
      await mkdir(path.join(database, volume), { recursive: true });
      // A hostPath volume is not given to the pod's group: whoever gets it must be able to write.
      await chmod(path.join(database, volume), 0o777);
    }
    await writeFile(path.join(folder, 'containerd.toml'), this.containerdConfig());
    await writeFile(
      path.join(folder, 'cni/10-sluice.conflist'),
      this.cniConfig(await allowCubic()),
    );
    await writeFile(path.join(folder, 'kubelet.yaml'), this.kubeletConfig());
    await writeFile(
      path.join(folder, 'proxy.yaml'),
      proxyConfig({ hostname: this.name, address: this.address }),
    );
  }

  private containerdConfig(): string {
    return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${PAUSE_IMAGE}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${this.inside}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
`;
  }

  /** Each pod on a link of its own, routed by the node: Services need no bridge filtering then. */
  private cniConfig(cubic: boolean): string {
    return JSON.stringify({
      cniVersion: '0.4.0',
      name: 'sluice',
      plugins: [
        {
          type: 'ptp',
          ipMasq: false,
          mtu: 1500,
          ipam: {
            type: 'host-local',
            dataDir: '/var/lib/cni',
            ranges: [[{ subnet: podCidr(this.options.index) }]],
            routes: [{ dst: '0.0.0.0/0' }],
          },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
        ...(cubic
          ? [{ type: 'tuning', sysctl: { 'net.ipv4.tcp_congestion_control': 'cubic' } }]
          : []),
      ],
    });
  }

  private kubeletConfig(): string {
    return JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
      cgroupDriver: 'cgroupfs',
      cgroupRoot: this.group,
      enforceNodeAllocatable: [],
      localStorageCapacityIsolation: false,
      failSwapOn: false,
      oomScoreAdj: 0,
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: true },
        x509: { clientCAFile: `${STATE}/pki/ca.crt` },
      },
      authorization: { mode: 'Webhook' },
      clusterDNS: [DNS_ADDRESS],
      clusterDomain: 'cluster.local',
      resolvConf: '/run/sluice/empty',
      nodeStatusUpdateFrequency: '4s',
      evictionHard: { 'memory.available': '50Mi' },
      imageGCHighThresholdPercent: 100,
      imageMinimumGCAge: '24h',
    });
  }
}

interface NodeInput {
  readonly input?: string;
  readonly signal?: AbortSignal | undefined;
}

/** A kube-proxy for a node, or for the control plane, which acts as if it were `hostname`. */
export function proxyConfig(options: { hostname: string; address: string }): string {
  return JSON.stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig: `${STATE}/${kubeconfigFile('proxy')}` },
    mode: 'iptables',
    clusterCIDR: POD_CIDR,
    hostnameOverride: options.hostname,
    bindAddress: options.address,
    oomScoreAdj: 0,
    // These belong to the machine, not to the namespace: zero leaves them alone.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    iptables: { minSyncPeriod: '100ms' },
  });
}
