/** Pods for tests of the cluster itself: any image with Node, running a line of script. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.ts';

export interface ScriptPod {
  readonly name: string;
  /** Without one the scheduler chooses. */
  readonly node?: string;
  readonly image: string;
  /** ES module source. */
  readonly script: string;
  /** Never for one that runs to its end. */
  readonly restartPolicy?: 'Always' | 'Never';
  /** Name of a claim that it sees, read-only, at /data. */
  readonly claim?: string;
  /** `default` without one. */
  readonly namespace?: string;
}

/** A pod with the labels `app: <name>`, with no more rights than it needs. */
export function podManifest(pod: ScriptPod) {
  const { name, node, image, script, restartPolicy = 'Always', claim, namespace } = pod;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name }, ...(namespace !== undefined && { namespace }) },
    spec: {
      ...(node !== undefined && { nodeName: node }),
      restartPolicy,
      terminationGracePeriodSeconds: 0,
      // What was evicted from a node that is away would not come back with it.
      tolerations: [{ operator: 'Exists' }],
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 65532,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'script',
          image,
          imagePullPolicy: 'Never',
          command: ['node', '--input-type=module', '-e', script],
          securityContext: {
            allowPrivilegeEscalation: false,
            capabilities: { drop: ['ALL'] },
            readOnlyRootFilesystem: true,
          },
          ...(claim !== undefined && { volumeMounts: [{ name: 'data', mountPath: '/data' }] }),
        },
      ],
      ...(claim !== undefined && {
        volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim, readOnly: true } }],
      }),
    },
  };
}

export async function createPod(cluster: Cluster, pod: ScriptPod): Promise<void> {
  const manifest = podManifest(pod);
  await cluster.kubectl(['create', '-f', '-'], { input: JSON.stringify(manifest) });
}

/** A Service in front of the pod of the same name. */
export async function createService(cluster: Cluster, name: string, port: number): Promise<void> {
  const manifest = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ port: 80, targetPort: port }] },
  };
  await cluster.kubectl(['create', '-f', '-'], { input: JSON.stringify(manifest) });
}

export async function untilPod(
  cluster: Cluster,
  name: string,
  state: 'Ready' | 'Succeeded',
  namespace = 'default',
): Promise<void> {
  const condition = state === 'Ready' ? 'condition=Ready' : 'jsonpath={.status.phase}=Succeeded';
  const wait = ['wait', `pod/${name}`, '-n', namespace, `--for=${condition}`];
  await cluster.kubectl([...wait, '--timeout=60s']);
}

/** Tries again until it does not throw; throws its last error when that takes too long. */
export async function eventually<T>(attempt: () => Promise<T>, timeoutMs = 30_000): Promise<T> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > giveUpAt) throw error;
      await sleep(200);
    }
  }
}
