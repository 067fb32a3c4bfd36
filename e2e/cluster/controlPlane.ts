/** etcd, kube-apiserver, kube-controller-manager, kube-scheduler, CoreDNS, and who they know. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CONTROL, ORIGIN, SERVICE_CIDR } from './network.ts';
import { run } from './run.ts';
import type { Daemon, Sandbox } from './sandbox.ts';

/** The cluster's folder as processes in the sandbox see it. */
export const STATE = '/run/sluice/state';
export const BIN = '/run/sluice/bin';
export const TOOLS = '/run/sluice/tools';
const PKI = `${STATE}/pki`;

const API_ADDRESS = `https://${CONTROL.address}:6443`;

/** Everybody who talks to the API server, with the groups that RBAC gives rights to. */
const IDENTITIES = {
  admin: { user: 'admin', groups: ['system:masters'] },
  'controller-manager': { user: 'system:kube-controller-manager', groups: [] },
  scheduler: { user: 'system:kube-scheduler', groups: [] },
  proxy: { user: 'system:kube-proxy', groups: [] },
  coredns: { user: 'system:coredns', groups: [] },
} as const;

export function kubeconfigFile(identity: string): string {
  return `kubeconfigs/${identity}.json`;
}

/** Keys, certificates, tokens and kubeconfig files, before anything starts. */
export async function writeIdentities(options: {
  stateFolder: string;
  clusterName: string;
  nodes: readonly string[];
  apiPort: number;
  signal?: AbortSignal | undefined;
}): Promise<{ adminToken: string }> {
  const { stateFolder } = options;
  const pki = path.join(stateFolder, 'pki');
  await mkdir(pki, { recursive: true, mode: 0o700 });
  await mkdir(path.join(stateFolder, 'kubeconfigs'), { recursive: true, mode: 0o700 });
  await writeCertificates(pki, options.signal);
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(
    path.join(pki, 'accounts.key'),
    privateKey.export({ type: 'pkcs1', format: 'pem' }),
    { mode: 0o600 },
  );
  await writeFile(
    path.join(pki, 'accounts.pub'),
    publicKey.export({ type: 'spki', format: 'pem' }),
  );

  const identities = [
    ...Object.entries(IDENTITIES).map(([name, identity]) => ({ name, ...identity })),
    ...options.nodes.map((name) => ({
      name,
      user: `system:node:${name}`,
      groups: ['system:nodes'],
    })),
  ];
  const ca = await readFile(path.join(pki, 'ca.crt'), 'utf8');
  const rows: string[] = [];
  let adminToken = '';
  for (const { name, user, groups } of identities) {
    const token = randomBytes(24).toString('hex');
    rows.push(`${token},${user},${name}${groups.length > 0 ? `,"${groups.join(',')}"` : ''}`);
    const config = (cluster: string, server: string) =>
      JSON.stringify(kubeconfig(cluster, server, ca, name, token), undefined, 2);
    const file = path.join(stateFolder, kubeconfigFile(name));
    await writeFile(file, config('cluster', API_ADDRESS), { mode: 0o600 });
    if (name !== 'admin') continue;
    adminToken = token;
    const outside = config(options.clusterName, `https://127.0.0.1:${options.apiPort}`);
    await writeFile(path.join(stateFolder, 'kubeconfig'), outside, { mode: 0o600 });
  }
  await writeFile(path.join(pki, 'tokens.csv'), `${rows.join('\n')}\n`, { mode: 0o600 });
  return { adminToken };
}

function kubeconfig(cluster: string, server: string, ca: string, user: string, token: string) {
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: cluster,
        cluster: { server, 'certificate-authority-data': Buffer.from(ca).toString('base64') },
      },
    ],
    users: [{ name: user, user: { token } }],
    contexts: [{ name: cluster, context: { cluster, user } }],
    'current-context': cluster,
  };
}

async function writeCertificates(pki: string, signal: AbortSignal | undefined): Promise<void> {
  const names = [
    ...['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'],
    'kubernetes.default.svc.cluster.local',
  ].map((name) => `DNS:${name}`);
  const addresses = ['10.96.0.1', CONTROL.address, '127.0.0.1'].map((address) => `IP:${address}`);
  const key = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650';
  const signed = '-CA ca.crt -CAkey ca.key';
  await run(
    'sh',
    [
      '-ec',
      `openssl req -x509 ${key} -keyout ca.key -out ca.crt -subj /CN=sluice-test-ca
       openssl req -x509 ${key} ${signed} -keyout api.key -out api.crt -subj /CN=kube-apiserver \
         -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth \
         -addext subjectAltName=${[...names, ...addresses].join(',')}
       openssl req -x509 ${key} ${signed} -keyout kubelet-client.key -out kubelet-client.crt \
         -subj /O=system:masters/CN=kube-apiserver-kubelet-client \
         -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=clientAuth`,
    ],
    { cwd: pki, signal },
  );
}

/** Starts the store and the API server; they answer some seconds later. */
export async function startApiServer(sandbox: Sandbox, stateFolder: string): Promise<Daemon[]> {
  await writeFile(
    path.join(stateFolder, 'audit-policy.yaml'),
    `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`,
  );
  await mkdir(path.join(stateFolder, 'etcd'), { recursive: true, mode: 0o700 });
  const start = (name: string, args: string[]) =>
    sandbox.daemon(
      CONTROL,
      name,
      path.join(stateFolder, `logs/${name}.log`),
      `${BIN}/${name}`,
      args,
    );
  const etcd = await start('etcd', [
    `--data-dir=${STATE}/etcd`,
    '--listen-client-urls=http://127.0.0.1:2379',
    '--advertise-client-urls=http://127.0.0.1:2379',
    '--listen-peer-urls=http://127.0.0.1:2380',
    // The cluster does not outlive the machine.
    '--unsafe-no-fsync',
    '--log-level=warn',
  ]);
  const apiServer = await start('kube-apiserver', [
    '--etcd-servers=http://127.0.0.1:2379',
    `--advertise-address=${CONTROL.address}`,
    '--secure-port=6443',
    `--service-cluster-ip-range=${SERVICE_CIDR}`,
    `--tls-cert-file=${PKI}/api.crt`,
    `--tls-private-key-file=${PKI}/api.key`,
    `--client-ca-file=${PKI}/ca.crt`,
    `--token-auth-file=${PKI}/tokens.csv`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${PKI}/accounts.pub`,
    `--service-account-signing-key-file=${PKI}/accounts.key`,
    `--kubelet-client-certificate=${PKI}/kubelet-client.crt`,
    `--kubelet-client-key=${PKI}/kubelet-client.key`,
    '--kubelet-preferred-address-types=InternalIP',
    `--audit-policy-file=${STATE}/audit-policy.yaml`,
    `--audit-log-path=${STATE}/logs/audit.log`,
  ]);
  return [etcd, apiServer];
}

/** While it is frozen nothing is answered, and what is connected to it stays so. */
export async function setApiServerFrozen(sandbox: Sandbox, isFrozen: boolean): Promise<void> {
  for (const { pid, parent } of await sandbox.processesOf('kube-apiserver')) {
    // The nsenter that waits for it stops with it, and goes on only when that is told to.
    if (!isFrozen) process.kill(parent, 'SIGCONT');
    process.kill(pid, isFrozen ? 'SIGSTOP' : 'SIGCONT');
  }
}

/** Starts what works on the API server, once that is ready. */
export async function startControllers(sandbox: Sandbox, stateFolder: string): Promise<Daemon[]> {
  const start = (name: string, args: string[]) =>
    sandbox.daemon(
      CONTROL,
      name,
      path.join(stateFolder, `logs/${name}.log`),
      `${BIN}/${name}`,
      args,
    );
  await writeFile(path.join(stateFolder, 'Corefile'), corefile());
  const config = (identity: string) => `--kubeconfig=${STATE}/${kubeconfigFile(identity)}`;
  return Promise.all([
    start('kube-controller-manager', [
      config('controller-manager'),
      '--leader-elect=false',
      '--use-service-account-credentials',
      `--service-account-private-key-file=${PKI}/accounts.key`,
      `--root-ca-file=${PKI}/ca.crt`,
      `--cluster-signing-cert-file=${PKI}/ca.crt`,
      `--cluster-signing-key-file=${PKI}/ca.key`,
    ]),
    start('kube-scheduler', [config('scheduler'), '--leader-elect=false']),
    start('coredns', ['-conf', `${STATE}/Corefile`]),
  ]);
}

/** Names that are answered without Kubernetes: the origin host under each of them. */
export const ORIGIN_NAMES = [
  'origin.sluice.test',
  'mirror.sluice.test',
  'fresh.sluice.test',
] as const;

/** No `forward`: a name of the outside world is refused at once instead of after a time-out. */
function corefile(): string {
  return `.:53 {
  errors
  health 127.0.0.1:8080
  ready 127.0.0.1:8181
  cache 5
  hosts {
    ${ORIGIN.address} ${ORIGIN_NAMES.join(' ')}
    fallthrough
  }
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${STATE}/${kubeconfigFile('coredns')}
    ttl 5
  }
}
`;
}

const READY_TIMEOUT_MS = 60_000;

/** Waits for the API server; fails at once when one of the processes has ended. */
export async function untilApiReady(options: {
  port: number;
  token: string;
  stateFolder: string;
  daemons: readonly Daemon[];
  signal?: AbortSignal | undefined;
}): Promise<void> {
  const ca = await readFile(path.join(options.stateFolder, 'pki/ca.crt'));
  const giveUpAt = performance.now() + READY_TIMEOUT_MS;
  let last = '';
  while (performance.now() < giveUpAt) {
    options.signal?.throwIfAborted();
    await failOnEnded(options.daemons);
    last = await probe(options.port, options.token, ca);
    if (last === '200') return;
    await sleep(100);
  }
  throw new Error(`the API server is not ready after ${READY_TIMEOUT_MS / 1000} s: ${last}`);
}

/** Throws with the end of its log when a process that should run has ended. */
export async function failOnEnded(daemons: readonly Daemon[]): Promise<void> {
  for (const daemon of daemons) {
    const why = daemon.ended();
    if (why === undefined) continue;
    const log = await readFile(daemon.logFile, 'utf8').catch(() => '');
    throw new Error(`${daemon.name} ended (${why}):\n${log.slice(-3_000)}`);
  }
}

function probe(port: number, token: string, ca: Buffer): Promise<string> {
  return new Promise((resolve) => {
    const attempt = request(
      {
        host: '127.0.0.1',
        port,
        path: '/readyz',
        ca,
        agent: false,
        timeout: 2_000,
        headers: { authorization: `Bearer ${token}` },
      },
      (response) => {
        response.resume();
        resolve(String(response.statusCode));
      },
    );
    attempt.on('timeout', () => attempt.destroy(new Error('timed out')));
    attempt.on('error', (error) => resolve(error.message));
    attempt.end();
  });
}
