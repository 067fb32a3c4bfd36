/** What `make install` is to do, from what the user said: pure, so that refusals can be tested. */

export type Component = 'operator' | 'relay' | 'agent';

export const IMAGES: readonly { readonly component: Component; readonly folder: string }[] = [
  { component: 'operator', folder: 'operator' },
  { component: 'relay', folder: 'relay-image' },
  { component: 'agent', folder: 'node-agent' },
];

export interface InstallRequest {
  readonly kubeconfig: string | undefined;
  /** Where images are pushed, `host/path`. */
  readonly registry: string | undefined;
  /** `git describe`: the same sources give the same tag. */
  readonly revision: string;
}

export interface InstallPlan {
  readonly images: Readonly<Record<Component, string>>;
  /** For the chart. */
  readonly values: Readonly<Record<string, string>>;
}

/** Throws with a sentence for the user when something is missing or wrong. */
export function planInstall(request: InstallRequest): InstallPlan {
  if (!request.kubeconfig) {
    throw new Error(
      'KUBECONFIG is not set: name the kubeconfig file of the cluster to install into',
    );
  }
  const registry = request.registry?.replace(/\/+$/, '');
  if (!registry) {
    throw new Error(
      'this is not a cluster of `make cluster`, and REGISTRY is not set, so its nodes could not ' +
        'pull the images: set REGISTRY=host/path to where they can be pushed',
    );
  }
  if (!/^[a-z0-9.-]+(:[0-9]+)?(\/[a-z0-9._-]+)*$/.test(registry)) {
    throw new Error(`REGISTRY=${registry} is not host/path in lower case, without https://`);
  }
  // The tag of a changed checkout stands for other bytes each time: nodes must ask again.
  const pullPolicy = request.revision.endsWith('-dirty') ? 'Always' : 'IfNotPresent';
  const name = (component: Component) => `${registry}/sluice-${component}`;
  return {
    images: {
      operator: `${name('operator')}:${request.revision}`,
      relay: `${name('relay')}:${request.revision}`,
      agent: `${name('agent')}:${request.revision}`,
    },
    values: Object.fromEntries(
      IMAGES.flatMap(({ component }) => [
        [`${component}.image.repository`, name(component)],
        [`${component}.image.tag`, request.revision],
        [`${component}.image.pullPolicy`, pullPolicy],
      ]),
    ),
  };
}
