/** Lints and renders the chart in the ways it can be installed. What it renders is tested in chart.integration.test.ts. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { findHelm, KUBE_VERSION } from './helm.ts';

const run = promisify(execFile);
const chart = path.resolve(import.meta.dirname, '../helm/sluice');

const VARIANTS: readonly (readonly string[])[] = [
  [],
  ['operator.replicas=2', 'crds.install=false', 'networkPolicy.enabled=false'],
  ['mongodb.mode=External', 'mongodb.external.uriSecretRef.name=database'],
  ['mongodb.bundled.replicaSet=false', 'mongodb.bundled.storage.storageClassName=-'],
];

const helm = await findHelm();
if (helm === undefined) {
  console.log('no helm yet: `make setup` provides it');
} else {
  for (const variant of VARIANTS) {
    const values = variant.flatMap((value) => ['--set', value]);
    const options = { timeout: 30_000, maxBuffer: 16 * 1024 * 1024 };
    await run(helm, ['lint', '--strict', chart, ...values], options);
    await run(
      helm,
      [
        'template',
        'sluice',
        chart,
        '--namespace',
        'sluice-system',
        '--kube-version',
        KUBE_VERSION,
        ...values,
      ],
      options,
    );
  }
}
