/**
 * `make cluster`: brings a test cluster up and leaves it running.
 *   node e2e/cluster/up.ts --nodes 6 --zones 2 [--link-rate 100mbit] [--origin-link-rate 50mbit]
 */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { buildClusterBinaries } from './build.ts';
import { type Cluster, type LinkRate, startCluster } from './cluster.ts';
import { abortOnSignal, failWith } from './command.ts';
import { sluiceImages } from './images.ts';
import { parseBitsPerSecond } from './linkRate.ts';

const signal = abortOnSignal();
try {
  const { values } = parseArgs({
    options: {
      nodes: { type: 'string', default: '6' },
      zones: { type: 'string', default: '2' },
      'link-rate': { type: 'string' },
      'origin-link-rate': { type: 'string' },
    },
  });
  const linkRate = symmetric(values['link-rate']);
  const originLinkRate = symmetric(values['origin-link-rate']);
  // So that `make install` finds them on the nodes.
  const images = Object.values(await sluiceImages({ signal }));
  const cluster = await startCluster({
    images: images.map(({ archive }) => archive),
    nodes: Number(values.nodes),
    zones: Number(values.zones),
    ...(linkRate ? { linkRate } : {}),
    ...(originLinkRate ? { originLinkRate } : {}),
    detached: true,
    log: console.log,
    signal,
  });
  console.log(await howToGoOn(cluster));
} catch (error) {
  failWith('cluster', error);
}

function symmetric(text: string | undefined): LinkRate | undefined {
  if (text === undefined) return undefined;
  const rate = parseBitsPerSecond(text);
  return { downBitsPerSecond: rate, upBitsPerSecond: rate };
}

async function howToGoOn(cluster: Cluster): Promise<string> {
  const bin = await buildClusterBinaries();
  const files = path.join(cluster.stateFolder, 'origin/files');
  return `
${cluster.name} runs. Go on with:

  export KUBECONFIG=${cluster.kubeconfigPath} PATH=${bin}:$PATH
  kubectl get nodes -L topology.kubernetes.io/zone
  make install    # Sluice from this checkout
  make clean      # ends this cluster and others of \`make cluster\`

Files in ${files}
are at ${cluster.origin.url}/ for its pods. That is a private address: Sluice wants an Origin for it

kubectl apply -f - <<END
apiVersion: sluice.dev/v1alpha1
kind: Origin
metadata: {name: test}
spec:
  hosts: [${new URL(cluster.origin.url).host}]
  allowPrivateAddresses: true
  limits: {maxConnections: 8, maxBandwidth: 20Mi, maxTraffic: {bytes: 1Ti, period: 720h}}
END
`;
}
