/**
 * A real kube-apiserver on a real etcd, on loopback, for integration tests: everything about the
 * API is true, nothing runs behind it. The binaries are those of the test cluster.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { access, glob, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import { customResourceDefinitions } from '../../api/customResources.ts';
import { KubeClient } from '../../kube/client.ts';
import type { NodeObject } from '../../kube/objects.ts';
import { listPath, resources } from '../../kube/paths.ts';
import { type Permission, permissions } from '../../kube/permissions.ts';
import { toolCache } from '../config.ts';

const START_TIMEOUT_MS = 60_000;
const ADMIN_TOKEN = 'admin-token';
const OPERATOR_TOKEN = 'operator-token';
const UNINSTALLER_TOKEN = 'uninstaller-token';
export const OPERATOR_NAMESPACE = 'sluice-system';

export interface TestApiServer {
  /** May do everything. */
  readonly admin: KubeClient;
  /** May do what kube/permissions.ts says. */
  readonly operator: KubeClient;
  readonly operatorConfig: KubeConfig;
  /** May do what the chart's uninstall hook may. */
  readonly uninstaller: KubeClient;
  addNode(name: string, labels?: Readonly<Record<string, string>>): Promise<NodeObject>;
  /** Ends the API server as a crash does, and starts it again on the same data. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startApiServer(): Promise<TestApiServer> {
  const binaries = await findBinaries();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'sluice-apiserver-'));
  const [etcdPort, peerPort, port] = await freePorts(3);
  const children: ChildProcess[] = [];
  const run = (name: string, args: readonly string[]): ChildProcess => {
    const child = spawn(path.join(binaries, name), args, {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const log = createWriteStream(path.join(folder, `${name}.log`), { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    children.push(child);
    return child;
  };
  const stop = async () => {
    await admin.close();
    await operator.close();
    await uninstaller.close();
    await Promise.all(children.map(end));
    await rm(folder, { recursive: true, force: true });
  };

  await writeKeys(folder);
  const etcd = `http://127.0.0.1:${etcdPort}`;
  run('etcd', [
    `--data-dir=${folder}/etcd`,
    `--listen-client-urls=${etcd}`,
    `--advertise-client-urls=${etcd}`,
    `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    '--unsafe-no-fsync=true',
    '--log-level=error',
  ]);
  const startServer = () =>
    run('kube-apiserver', [
      `--etcd-servers=${etcd}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${port}`,
      `--cert-dir=${folder}/certs`,
      `--token-auth-file=${folder}/tokens.csv`,
      `--service-account-key-file=${folder}/sa.pub`,
      `--service-account-signing-key-file=${folder}/sa.key`,
      '--service-account-issuer=https://kubernetes.default.svc',
      '--service-cluster-ip-range=10.250.0.0/24',
      '--authorization-mode=RBAC',
      '--endpoint-reconciler-type=none',
      '--v=0',
    ]);
  let server = startServer();
  const operatorConfig = kubeConfig(port!, OPERATOR_TOKEN);
  const admin = new KubeClient({}, { config: kubeConfig(port!, ADMIN_TOKEN) });
  const operator = new KubeClient({}, { config: operatorConfig });
  const uninstaller = new KubeClient({}, { config: kubeConfig(port!, UNINSTALLER_TOKEN) });
  try {
    await ready(admin, folder);
    await install(admin);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    admin,
    operator,
    operatorConfig,
    uninstaller,
    addNode(name, labels = {}) {
      const body = { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } };
      return admin.request({ method: 'POST', path: listPath(resources.nodes), body });
    },
    async restart() {
      await end(server);
      server = startServer();
      await ready(admin, folder);
    },
    stop,
  };
}

async function findBinaries(): Promise<string> {
  const pattern = path.join(toolCache(), 'cluster-*/bin/kube-apiserver');
  for await (const file of glob(pattern)) {
    const folder = path.dirname(file);
    const both = await access(path.join(folder, 'etcd')).then(
      () => true,
      () => false,
    );
    if (both) return folder;
  }
  throw new Error('there are no kube-apiserver and etcd to test against: run `make setup`');
}

export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ports.push((server.address() as { port: number }).port);
  }
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function writeKeys(folder: string): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(path.join(folder, 'sa.key'), privateKey.export({ type: 'pkcs1', format: 'pem' }));
  await writeFile(path.join(folder, 'sa.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  const tokens = [
    `${ADMIN_TOKEN},admin,admin,system:masters`,
    `${OPERATOR_TOKEN},operator,operator`,
    `${UNINSTALLER_TOKEN},uninstall,uninstall`,
  ];
  await writeFile(path.join(folder, 'tokens.csv'), `${tokens.join('\n')}\n`);
}

function kubeConfig(port: number, token: string): KubeConfig {
  const config = new KubeConfig();
  const server = `https://127.0.0.1:${port}`;
  config.loadFromClusterAndUser(
    { name: 'test', server, skipTLSVerify: true },
    { name: 'test', token },
  );
  return config;
}

async function ready(client: KubeClient, folder: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      // RBAC's own bootstrap is the last to be done.
      await client.request({
        method: 'GET',
        path: '/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin',
      });
      await client.request({ method: 'GET', path: '/api/v1/namespaces/default' });
      return;
    } catch (error) {
      if (Date.now() > deadline) {
        const log = await readFile(path.join(folder, 'kube-apiserver.log'), 'utf8');
        throw new Error(`kube-apiserver did not start:\n${log.slice(-4000)}`, { cause: error });
      }
      await sleep(100);
    }
  }
}

/** The CRDs, the operator's namespace and its rights. */
async function install(admin: KubeClient): Promise<void> {
  const crds = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  for (const body of customResourceDefinitions) {
    await admin.request({ method: 'POST', path: crds, body });
  }
  await admin.request({
    method: 'POST',
    path: '/api/v1/namespaces',
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: OPERATOR_NAMESPACE } },
  });
  const { persistentVolumeClaims, nodeLabels } = permissions.workloads;
  const cluster = [...permissions.cluster, ...persistentVolumeClaims, ...nodeLabels];
  await grant(admin, 'operator', 'ClusterRole', cluster);
  await grant(admin, 'operator', 'Role', permissions.namespace);
  await grant(admin, 'uninstall', 'ClusterRole', permissions.uninstall.cluster);
  await grant(admin, 'uninstall', 'Role', permissions.uninstall.namespace);
  for (const definition of customResourceDefinitions)
    await established(admin, definition.metadata.name);
}

async function grant(
  admin: KubeClient,
  user: 'operator' | 'uninstall',
  kind: 'ClusterRole' | 'Role',
  rules: readonly Permission[],
): Promise<void> {
  const apiVersion = 'rbac.authorization.k8s.io/v1';
  const scope = kind === 'Role' ? `/namespaces/${OPERATOR_NAMESPACE}` : '';
  const base = `/apis/${apiVersion}${scope}/${kind.toLowerCase()}`;
  const metadata = { name: `sluice-${user}` };
  const withoutReason = rules.map(({ reason: _reason, ...rule }) => rule);
  const role = { apiVersion, kind, metadata, rules: withoutReason };
  await admin.request({ method: 'POST', path: `${base}s`, body: role });
  const binding = {
    apiVersion,
    kind: `${kind}Binding`,
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, ...metadata },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
  };
  await admin.request({ method: 'POST', path: `${base}bindings`, body: binding });
}

async function established(admin: KubeClient, name: string): Promise<void> {
  const crds = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const crd = await admin.request<{
      status?: { conditions?: { type: string; status: string; message?: string }[] };
    }>({ method: 'GET', path: `${crds}/${name}` });
    const conditions = crd.status?.conditions ?? [];
    if (conditions.some(({ type, status }) => type === 'Established' && status === 'True')) return;
    if (Date.now() > deadline) throw new Error(`${name}: ${JSON.stringify(conditions)}`);
    await sleep(50);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}
