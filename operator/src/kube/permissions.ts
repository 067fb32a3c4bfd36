/**
 * Every right that the operator uses in the Kubernetes API, with the code that uses it.
 *
 * The chart's roles are generated from this table, so that a right appears in the cluster only
 * with a reason, and code that needs a new one starts here. `resourceNames` cannot bind `create`:
 * the API server does not know the name when it decides.
 */
export interface Permission {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly Verb[];
  /** Who uses it, and what for. */
  readonly reason: string;
}

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

export interface Permissions {
  /** In every namespace, and on objects that have none. */
  readonly cluster: readonly Permission[];
  /** In the operator's own namespace only. */
  readonly namespace: readonly Permission[];
  /** In every namespace, and only where the chart's value `workloads.<name>` is true. */
  readonly workloads: {
    readonly persistentVolumeClaims: readonly Permission[];
    readonly nodeLabels: readonly Permission[];
  };
  /** Of the chart's uninstall hook alone. */
  readonly uninstall: {
    readonly cluster: readonly Permission[];
    readonly namespace: readonly Permission[];
  };
}

export const permissions: Permissions = {
  cluster: [
    {
      apiGroups: ['sluice.dev'],
      resources: ['distributions', 'origins'],
      verbs: ['list', 'watch'],
      reason: 'kube/reflector: the desired state',
    },
    {
      apiGroups: ['sluice.dev'],
      resources: ['distributions'],
      verbs: ['patch'],
      reason: 'controllers/distribution: the finalizer',
    },
    {
      apiGroups: ['sluice.dev'],
      resources: ['distributions/status', 'origins/status'],
      verbs: ['patch'],
      reason: 'controllers: status by server-side apply',
    },
    {
      apiGroups: [''],
      resources: ['nodes'],
      verbs: ['list', 'watch'],
      reason: 'kube/reflector: which nodes a distribution matches, and their topology domain',
    },
    {
      apiGroups: [''],
      resources: ['namespaces'],
      verbs: ['list', 'watch'],
      reason: 'controllers/origin: which namespaces spec.allowedNamespaces allows',
    },
    {
      apiGroups: [''],
      resources: ['secrets'],
      verbs: ['get'],
      reason: 'controllers/distribution: spec.source.secretRef, by name, never listed',
    },
    {
      apiGroups: ['events.k8s.io'],
      resources: ['events'],
      verbs: ['create', 'patch'],
      reason: 'kube/events: in the namespace of the object that they tell of',
    },
    {
      apiGroups: ['authentication.k8s.io'],
      resources: ['tokenreviews'],
      verbs: ['create'],
      reason: 'server: who calls the control API',
    },
    {
      apiGroups: ['authorization.k8s.io'],
      resources: ['subjectaccessreviews'],
      verbs: ['create'],
      reason: 'server: whether a person may read a Distribution, for the read side',
    },
  ],
  namespace: [
    {
      apiGroups: ['coordination.k8s.io'],
      resources: ['leases'],
      verbs: ['create'],
      reason: 'kube/leaderElection: the first leader makes the Lease',
    },
    {
      apiGroups: ['coordination.k8s.io'],
      resources: ['leases'],
      resourceNames: ['sluice-operator', 'sluice-operator-next'],
      verbs: ['get', 'update'],
      reason:
        'kube/leaderElection, kube/succession: take, renew and release the Leases of who leads and of who could',
    },
    {
      apiGroups: ['apps'],
      resources: ['deployments'],
      verbs: ['get', 'list', 'watch', 'create', 'patch', 'delete'],
      reason: 'controllers/fleet: the relays; get: the uid of its own Deployment, their owner',
    },
    {
      apiGroups: ['apps'],
      resources: ['daemonsets'],
      verbs: ['list', 'watch', 'create', 'patch'],
      reason: 'controllers/fleet: the agents',
    },
    {
      apiGroups: ['policy'],
      resources: ['poddisruptionbudgets'],
      verbs: ['create', 'patch'],
      reason: 'controllers/fleet: of the relays; they go with their Deployments',
    },
    {
      apiGroups: [''],
      resources: ['pods'],
      verbs: ['get', 'list', 'watch'],
      reason: 'server: the pod behind a token, and that a relay or agent has ended',
    },
    {
      apiGroups: [''],
      resources: ['configmaps', 'secrets'],
      verbs: ['create'],
      reason: 'server: the CA of the control API, made once',
    },
    {
      apiGroups: [''],
      resources: ['configmaps', 'secrets'],
      resourceNames: ['sluice-ca'],
      verbs: ['update'],
      reason:
        'server: the CA of the control API, published and rotated; read by the rule for secrets',
    },
  ],
  workloads: {
    persistentVolumeClaims: [
      {
        apiGroups: [''],
        resources: ['persistentvolumes'],
        verbs: ['list', 'watch', 'create', 'delete'],
        reason: 'controllers/workloads/volumes: the volume of spec.target.persistentVolumeClaim',
      },
      {
        apiGroups: [''],
        resources: ['persistentvolumeclaims'],
        verbs: ['get', 'list', 'watch', 'create', 'delete'],
        reason: 'controllers/workloads/volumes: its claim; get: whose a claim of that name is',
      },
    ],
    nodeLabels: [
      {
        apiGroups: [''],
        resources: ['nodes'],
        verbs: ['patch'],
        reason: 'controllers/workloads/nodeLabels: spec.target.nodeLabel',
      },
    ],
  },
  uninstall: {
    cluster: [
      {
        apiGroups: ['sluice.dev'],
        resources: ['distributions'],
        verbs: ['list', 'patch'],
        reason: 'controllers/distribution/letGo: takes the finalizer away',
      },
    ],
    namespace: [
      {
        apiGroups: [''],
        resources: ['pods'],
        verbs: ['list'],
        reason: 'controllers/distribution/letGo: waits until the operator is gone',
      },
    ],
  },
};
