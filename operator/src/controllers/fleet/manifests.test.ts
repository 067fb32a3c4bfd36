import { TOKEN_AUDIENCE } from '@sluice/protocol/messages.ts';
import { describe, expect, it } from 'vitest';
import type { NodeAffinity } from '../../api/v1alpha1/affinity.ts';
import { matchesAffinity } from '../../policies/affinity.ts';
import { candidates, targetNodes } from '../../policies/nodes.ts';
import {
  agentDaemonSet,
  type FleetOptions,
  relayDeployment,
  relayDisruptionBudget,
  relayName,
} from './manifests.ts';
import { DEFAULT_AGENT_POD, DEFAULT_RELAY_POD } from './podSettings.ts';

const OPTIONS: FleetOptions = {
  namespace: 'sluice-system',
  relayImage: 'relay:1',
  relayStockPort: 0,
  agentImage: 'agent:1',
  imagePullPolicy: 'Never',
  relayIdleSeconds: 600,
  relayBounds: { maxRelays: 256, maxPerDomain: 64, topologyKeys: [] },
  agentRoot: '/data/sluice',
  minFreePercent: 0,
  checkSeconds: 30,
  rehashSeconds: 86_400,
  namespaceShares: '*=50%,team=1024',
  controlPort: 8443,
  logLevel: 'info',
  relayPod: DEFAULT_RELAY_POD,
  agentPod: DEFAULT_AGENT_POD,
  originCa: '',
};
const ZONE = 'topology.kubernetes.io/zone';

interface Template {
  spec: {
    replicas?: number;
    strategy?: object;
    updateStrategy?: object;
    template: {
      metadata: { labels: Record<string, string> };
      spec: {
        terminationGracePeriodSeconds: number;
        securityContext: object;
        affinity: {
          nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: NodeAffinity };
          podAntiAffinity: object;
        };
        tolerations: object[];
        automountServiceAccountToken: boolean;
        containers: {
          env: { name: string; value: string }[];
          ports: { name: string; containerPort: number }[];
          securityContext: object;
          volumeMounts: { name: string; mountPath: string }[];
        }[];
        volumes: { name: string }[];
      };
    };
  };
}

const relay = (domain: string) =>
  relayDeployment(OPTIONS, undefined, {
    topologyKey: ZONE,
    domain,
    replicas: 2,
  }) as unknown as Template;
const agent = () => agentDaemonSet(OPTIONS, undefined) as unknown as Template;

describe('the relays', () => {
  it.each<[string, Record<string, string>[], Record<string, string>[]]>([
    ['a', [{ [ZONE]: 'a' }], [{ [ZONE]: 'b' }, { [ZONE]: '' }, {}]],
    ['default', [{}, { [ZONE]: 'default' }, { [ZONE]: '' }], [{ [ZONE]: 'a' }]],
  ])('run on the nodes of their domain only, and on Linux: %s', (domain, inside, outside) => {
    const { nodeAffinity } = relay(domain).spec.template.spec.affinity;
    const affinity = nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution;
    const mayRun = (labels: object, os = 'linux') =>
      matchesAffinity({ ...labels, 'kubernetes.io/os': os }, affinity);
    const target = { nodeSelector: {} };
    for (const labels of [...inside, ...outside]) {
      const facts = { name: 'n', uid: 'u', labels, unschedulable: false, notReady: false };
      const isOfDomain = targetNodes(candidates([facts], ZONE), target)[0]?.domain === domain;
      expect([mayRun(labels), isOfDomain]).toEqual(Array(2).fill(inside.includes(labels)));
      expect(mayRun(labels, 'windows')).toBe(false);
    }
  });

  it('of a domain are on different nodes, where there are, and do not mind other relays', () => {
    const { metadata, spec } = relay('a').spec.template;
    const need = { topologyKey: ZONE, domain: 'a' };
    const labelSelector = {
      matchLabels: {
        'app.kubernetes.io/name': 'sluice',
        'app.kubernetes.io/component': 'relay',
        'sluice.dev/relay': relayName(need),
      },
    };
    // Preferred: where a domain has fewer nodes than relays, the others run all the same.
    expect(spec.affinity.podAntiAffinity).toEqual({
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, podAffinityTerm: { labelSelector, topologyKey: 'kubernetes.io/hostname' } },
      ],
    });
    expect(metadata.labels).toMatchObject(labelSelector.matchLabels);
  });

  it('have a port for stock clients only where one is set', () => {
    const containerOf = (relayStockPort: number) => {
      const need = { topologyKey: ZONE, domain: 'a', replicas: 1 };
      const made = relayDeployment({ ...OPTIONS, relayStockPort }, undefined, need);
      return (made as unknown as Template).spec.template.spec.containers[0];
    };
    const names = (container: ReturnType<typeof containerOf>) => [
      ...(container?.env ?? []).map(({ name }) => name),
      ...(container?.ports ?? []).map(({ name }) => name),
    ];
    expect(names(containerOf(0))).not.toContain('SLUICE_STOCK_PORT');
    expect(names(containerOf(0))).not.toContain('stock');
    const on = containerOf(6889);
    expect(on?.env).toContainEqual({ name: 'SLUICE_STOCK_PORT', value: '6889' });
    expect(on?.ports).toContainEqual({ name: 'stock', containerPort: 6889, protocol: 'TCP' });
  });

  it.each([
    ['an emptyDir without a limit', {}, { SLUICE_MIN_FREE_PERCENT: '7' }],
    [
      'an emptyDir with one',
      { size: '2Gi' },
      { SLUICE_MIN_FREE_PERCENT: '7', SLUICE_CACHE_BYTES: String(2 ** 31) },
    ],
    [
      'a volume of its own',
      { size: '2Gi', storageClassName: 'fast' },
      { SLUICE_MIN_FREE_PERCENT: '0' },
    ],
  ])('know what they may take where the cache is %s', (_what, cache, expected) => {
    const options = { ...OPTIONS, minFreePercent: 7, relayPod: { ...DEFAULT_RELAY_POD, cache } };
    const made = relayDeployment(options, undefined, {
      topologyKey: ZONE,
      domain: 'a',
      replicas: 1,
    });
    const { containers } = (made as unknown as Template).spec.template.spec;
    const given = containers[0]!.env.filter(({ name }) => /FREE|CACHE_BYTES/.test(name));
    expect(Object.fromEntries(given.map(({ name, value }) => [name, value]))).toEqual(expected);
  });

  it('have a valid name of their own, whatever the domain is called', () => {
    const names = ['a', 'A', 'eu_west.1', '-', 'x'.repeat(63)].map((domain) =>
      relayName({ topologyKey: ZONE, domain }),
    );
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) {
      expect(name).toMatch(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
      expect(name.length).toBeLessThanOrEqual(52);
    }
    const name = relayName({ topologyKey: ZONE, domain: 'a' });
    expect(relayName({ topologyKey: 'kubernetes.io/hostname', domain: 'a' })).not.toBe(name);
    expect(relayName({ topologyKey: ZONE, domain: 'a', dedicatedTo: 'uid-1' })).not.toBe(name);
  });

  it('are rolled one by one, each with time to give away what it alone has', () => {
    const { strategy, template } = relay('a').spec;
    expect(strategy).toEqual({
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
    });
    // DRAIN_MS and STOP_MS of relay-image/src/main.ts.
    expect(template.spec.terminationGracePeriodSeconds).toBeGreaterThan(20 + 8);
  });

  it('leave a drained node one by one, but for those that are not ready', () => {
    const need = { topologyKey: ZONE, domain: 'a', replicas: 2 };
    expect(relayDisruptionBudget(OPTIONS, need, 'uid').spec).toEqual({
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: expect.objectContaining({ 'sluice.dev/relay': relayName(need) }) },
    });
  });

  it('are as restricted as Pod Security allows', () => {
    const { securityContext, automountServiceAccountToken } = relay('a').spec.template.spec;
    expect(securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(automountServiceAccountToken).toBe(false);
  });
});

describe('the relays and the agents', () => {
  it.each([
    { kind: 'relay', made: () => relay('a') },
    { kind: 'agent', made: () => agent() },
  ])(
    'are known by a token that is good for an hour, and for the control API only: $kind',
    ({ made }) => {
      const { automountServiceAccountToken, containers, volumes } = made().spec.template.spec;
      const serviceAccountToken = {
        audience: TOKEN_AUDIENCE,
        expirationSeconds: 3600,
        path: 'token',
      };
      expect(volumes).toContainEqual({
        name: 'token',
        projected: { sources: [{ serviceAccountToken }] },
      });
      const mountPath = '/var/run/secrets/sluice';
      expect(containers[0]?.volumeMounts).toContainEqual({
        name: 'token',
        mountPath,
        readOnly: true,
      });
      const value = `${mountPath}/token`;
      expect(containers[0]?.env).toContainEqual({ name: 'SLUICE_TOKEN_FILE', value });
      // One that the API server accepts it does not have.
      expect(automountServiceAccountToken).toBe(false);
    },
  );
});

describe('the agents', () => {
  it('run everywhere, as root without any of its capabilities', () => {
    const { tolerations, containers } = agent().spec.template.spec;
    expect(tolerations).toEqual([{ operator: 'Exists' }]);
    expect(containers[0]?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });

  it('are rolled a tenth at a time', () => {
    expect(agent().spec.updateStrategy).toEqual({
      type: 'RollingUpdate',
      rollingUpdate: { maxUnavailable: '10%', maxSurge: 0 },
    });
  });

  it('trust the certificates of a ConfigMap, where one is named, as relays do', () => {
    const options = { ...OPTIONS, originCa: 'our-ca' };
    const need = { topologyKey: ZONE, domain: 'a', replicas: 1 };
    const made = [agentDaemonSet(options, undefined), relayDeployment(options, undefined, need)];
    for (const { spec } of made as unknown as Template[]) {
      const { containers, volumes } = spec.template.spec;
      const file = '/etc/sluice/origin-ca/ca.crt';
      expect(containers[0]?.env).toContainEqual({ name: 'NODE_EXTRA_CA_CERTS', value: file });
      expect(volumes).toContainEqual({ name: 'origin-ca', configMap: { name: 'our-ca' } });
    }
    expect(JSON.stringify([agent(), relay('a')])).not.toContain('NODE_EXTRA_CA_CERTS');
  });

  it('know what must stay free of the disk, also where that is nothing', () => {
    const free = { name: 'SLUICE_MIN_FREE_PERCENT', value: '0' };
    expect(agent().spec.template.spec.containers[0]?.env).toContainEqual(free);
  });

  it('know what a namespace may take of the disk', () => {
    const share = { name: 'SLUICE_NAMESPACE_SHARES', value: '*=50%,team=1024' };
    expect(agent().spec.template.spec.containers[0]?.env).toContainEqual(share);
  });

  it('know how often they are to look at what they have placed, and to hash it again', () => {
    const { env } = agent().spec.template.spec.containers[0]!;
    expect(env).toContainEqual({ name: 'SLUICE_CHECK_SECONDS', value: '30' });
    expect(env).toContainEqual({ name: 'SLUICE_REHASH_SECONDS', value: '86400' });
  });

  it('see the folder of the node under its own name', () => {
    const { containers, volumes } = agent().spec.template.spec;
    expect(volumes).toContainEqual({
      name: 'root',
      hostPath: { path: '/data/sluice', type: 'DirectoryOrCreate' },
    });
    expect(containers[0]?.volumeMounts).toContainEqual({ name: 'root', mountPath: '/data/sluice' });
    expect(containers[0]?.env).toContainEqual({ name: 'SLUICE_ROOT', value: '/data/sluice' });
  });
});
