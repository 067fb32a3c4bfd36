/** What the Helm chart must be told in the test cluster. */
import type { Image, SluiceImages } from './images.ts';

/** Values for the chart: images that the nodes have already, and FerretDB as the database. */
export function chartValues(images: SluiceImages): Record<string, unknown> {
  return {
    operator: { image: imageValues(images.operator) },
    relay: { image: imageValues(images.relay) },
    agent: { image: imageValues(images.agent) },
    mongodb: {
      mode: 'Bundled',
      bundled: {
        image: imageValues(images.mongodb),
        command: ['/ferretdb'],
        args: ['-listen', '0.0.0.0:27017', '-data', '/data'],
        // FerretDB has no replica sets.
        replicaSet: false,
        dataPath: '/data',
        storage: { size: '1Gi' },
      },
    },
  };
}

function imageValues(image: Image): Record<string, string> {
  const colon = image.name.lastIndexOf(':');
  return {
    repository: image.name.slice(0, colon),
    tag: image.name.slice(colon + 1),
    pullPolicy: 'IfNotPresent',
  };
}
