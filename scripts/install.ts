/**
 * `make install`: Sluice from this checkout into the cluster that KUBECONFIG names.
 *
 * A cluster of `make cluster` gets the images loaded into its nodes. Any other cluster pulls them
 * from the registry that REGISTRY names, where they are pushed first. Arguments are Helm's:
 * `make install ARGS='--values mine.yaml'`. Settings of an earlier install are kept.
 */
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { chartValues } from '../e2e/cluster/chartValues.ts';
import { type Cluster, runningClusters } from '../e2e/cluster/cluster.ts';
import { sluiceImages } from '../e2e/cluster/images.ts';
import { findHelm } from './helm.ts';
import { IMAGES, type InstallPlan, planInstall } from './installPlan.ts';

const root = path.resolve(import.meta.dirname, '..');
const run = promisify(execFile);

try {
  await install();
} catch (error) {
  console.error(`install: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

async function install(): Promise<void> {
  const helm = await findHelm();
  if (helm === undefined) throw new Error('no helm found: run `make setup`, or install Helm');
  const testCluster = await findTestCluster(process.env.KUBECONFIG);
  if (testCluster) return installIntoTestCluster(helm, testCluster);
  const plan = planInstall({
    kubeconfig: process.env.KUBECONFIG,
    registry: process.env.REGISTRY,
    revision: await revision(),
  });
  const builder = await findBuilder();
  await buildAndPush(builder, plan);
  await upgrade(
    helm,
    Object.entries(plan.values).flatMap(([name, value]) => ['--set-string', `${name}=${value}`]),
  );
}

/** The cluster of `make cluster` whose kubeconfig this is. */
async function findTestCluster(kubeconfig: string | undefined): Promise<Cluster | undefined> {
  if (!kubeconfig) return undefined;
  const file = await realpath(kubeconfig).catch(() => kubeconfig);
  const running = await runningClusters();
  return running.find((cluster) => cluster.kubeconfigPath === file);
}

async function installIntoTestCluster(helm: string, cluster: Cluster): Promise<void> {
  const images = await sluiceImages();
  for (const image of Object.values(images)) {
    console.log(`install: ${image.name} into ${cluster.nodes.length} nodes`);
    await cluster.loadImage(image);
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'sluice-install-'));
  try {
    const values = path.join(folder, 'values.json');
    await writeFile(values, JSON.stringify(chartValues(images)));
    await upgrade(helm, ['--values', values]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function upgrade(helm: string, values: readonly string[]): Promise<void> {
  return show(helm, [
    ...['upgrade', '--install', 'sluice', path.join(root, 'helm/sluice')],
    ...['--namespace', 'sluice-system', '--create-namespace', '--wait', '--timeout', '5m'],
    // Without it Helm forgets what was set before: another database would be one without plans.
    '--reset-then-reuse-values',
    ...values,
    ...process.argv.slice(2),
  ]);
}

/** The commit, and whether the checkout differs from it: names the images. */
async function revision(): Promise<string> {
  const { stdout } = await run('git', ['describe', '--always', '--dirty'], { cwd: root });
  return stdout.trim();
}

async function findBuilder(): Promise<string> {
  for (const builder of ['docker', 'podman', 'buildah']) {
    const found = await run(builder, ['version'], { timeout: 10_000 }).then(
      () => true,
      () => false,
    );
    if (found) return builder;
  }
  throw new Error('building images needs docker, podman or buildah, and none works here');
}

async function buildAndPush(builder: string, plan: InstallPlan): Promise<void> {
  for (const { component, folder } of IMAGES) {
    const name = plan.images[component];
    console.log(`install: building ${name}`);
    await show(builder, ['build', '--file', path.join(folder, 'Dockerfile'), '--tag', name, '.']);
    console.log(`install: pushing ${name}`);
    await show(builder, ['push', name]);
  }
}

/** Runs a command with its output on the terminal; ends with this process. */
async function show(program: string, args: readonly string[]): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
    child.once('error', reject);
    child.once('exit', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${path.basename(program)} ${args[0]} failed (${code ?? 'signal'})`));
    });
  });
}
