/** vitest's global set-up: one cluster with Sluice for all scenarios, which run one by one. */
import type { TestProject } from 'vitest/node';
import { type Cluster, startCluster } from '../cluster/cluster.ts';
import { nextMinorImages, sluiceImages } from '../cluster/images.ts';
import { originResource } from '../install/resources.ts';
import { RunRecord } from '../install/runRecord.ts';
import { archivesOf, installSluice } from '../install/sluice.ts';
import { LIMITS, SETTINGS } from './limits.ts';

declare module 'vitest' {
  interface ProvidedContext {
    clusterName: string;
  }
}

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const log = (line: string) => console.log(line);
  const images = await sluiceImages({ log });
  const archives = new Set([images, await nextMinorImages({ log })].flatMap(archivesOf));
  const cluster = await startCluster({ nodes: 3, zones: 2, images: [...archives], log });
  const record = new RunRecord(cluster);
  try {
    await record.start();
    await install(cluster, images);
  } catch (error) {
    await cluster.dumpState('e2e/results/install');
    await record.stop();
    await cluster.stop();
    throw error;
  }
  project.provide('clusterName', cluster.name);
  return async () => {
    await record.stop();
    await cluster.stop();
  };
}

async function install(
  cluster: Cluster,
  images: Awaited<ReturnType<typeof sluiceImages>>,
): Promise<void> {
  const sluice = await installSluice(cluster, images, SETTINGS);
  await sluice.apply(originResource('scenarios', 'origin.sluice.test', LIMITS));
  await sluice.read.close();
}
