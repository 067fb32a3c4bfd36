/** What the chart's NetworkPolicies let through to which pods, as a network plugin would read them. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { agentDaemonSet, relayDeployment } from '../operator/src/controllers/fleet/manifests.ts';
import { TEST_FLEET } from '../operator/src/testing/adapters/controllersSetup.ts';
import { renderChart } from './helm.ts';

type Labels = Readonly<Record<string, string>>;

interface Port {
  readonly name: string;
  readonly containerPort: number;
}

interface Rule {
  readonly ports: readonly { readonly port: string }[];
  /** Absent: everybody. */
  readonly from?: readonly { readonly podSelector: { readonly matchLabels: Labels } }[];
}

interface Rendered {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly podSelector: { readonly matchLabels: Labels };
    readonly policyTypes: readonly string[];
    readonly ingress: readonly Rule[];
    readonly template: {
      readonly metadata: { readonly labels: Labels };
      readonly spec: { readonly containers: readonly { readonly ports?: readonly Port[] }[] };
    };
  };
}

interface Pod {
  readonly name: string;
  readonly labels: Labels;
  readonly ports: readonly Port[];
}

/** Of another namespace, or outside the cluster: no selector of these policies matches it. */
const STRANGER: Pod = { name: 'everybody', labels: {}, ports: [] };
/** Of another program in the namespace, whose parts are called like ours. */
const NAMESAKES = ['operator', 'relay', 'agent', 'mongodb'].map((component): Pod => {
  const labels = { 'app.kubernetes.io/name': 'other', 'app.kubernetes.io/component': component };
  return { name: `other ${component}`, labels, ports: [] };
});
const STOCK_PORT = 6889;

function podOf({ metadata: { name }, spec: { template } }: Rendered): Pod {
  const { labels } = template.metadata;
  const ports = template.spec.containers.flatMap((container) => container.ports ?? []);
  return { name, labels, ports };
}

function matches(selector: Labels, { labels }: Pod): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

/** A pod that no policy selects is open to all; one that is selected, to whom a rule names. */
function isOpen(policies: readonly Rendered[], to: Pod, port: Port, from: Pod): boolean {
  const own = policies.filter(({ spec }) => matches(spec.podSelector.matchLabels, to));
  if (own.length === 0) return true;
  return own.some(({ spec }) =>
    spec.ingress.some((rule) => {
      const isPort = rule.ports.some(({ port: name }) => name === port.name);
      const isFrom = rule.from?.some(({ podSelector }) => matches(podSelector.matchLabels, from));
      return isPort && (isFrom ?? true);
    }),
  );
}

/** Of docs/operations.md, as `<to> <port> <from>`. */
async function documented(): Promise<string[]> {
  const page = path.resolve(import.meta.dirname, '../docs/operations.md');
  const text = await readFile(page, 'utf8');
  const [, table = ''] =
    /\n\| to \| at \| from \|\n\|---\|---\|---\|\n((?:\|.*\n)+)/.exec(text) ?? [];
  return table
    .trim()
    .split('\n')
    .flatMap((row) => {
      const [, to = '', at = '', from = ''] = row.split('|').map((cell) => cell.trim());
      const ways = at
        .split(', ')
        .flatMap((port) => words(from).map((source) => ({ port: Number(port), source })));
      return words(to).flatMap((target) =>
        ways.map(({ port, source }) => `${target} ${port} ${source}`),
      );
    });
}

/** `operator, relays, which ...` is operator and relay. */
function words(cell: string): string[] {
  const [names = ''] = cell.split(/, which|:/);
  return names.split(', ').map((name) => name.toLowerCase().replace(/s$/, ''));
}

describe('the network policies', () => {
  let policies: Rendered[];
  let pods: Pod[];

  beforeAll(async () => {
    const rendered = await renderChart<Rendered>([`relay.stockPort=${STOCK_PORT}`]);
    const fleet = { ...TEST_FLEET, relayStockPort: STOCK_PORT };
    const need = { topologyKey: 'topology.kubernetes.io/zone', domain: 'a', replicas: 1 };
    const relay = relayDeployment(fleet, undefined, { ...need, dedicatedTo: 'uid' });
    const made = { relay, agent: agentDaemonSet(fleet, undefined) };
    policies = rendered.filter(({ kind }) => kind === 'NetworkPolicy');
    pods = [
      ...rendered
        .filter(({ kind }) => ['Deployment', 'StatefulSet', 'Job'].includes(kind))
        .map((workload) => {
          return { ...podOf(workload), name: workload.metadata.name.replace('sluice-', '') };
        }),
      ...Object.entries(made).map(([name, workload]) => {
        return { ...podOf(workload as unknown as Rendered), name };
      }),
    ];
  });

  it('select each kind of pod that has ports once, and no other', () => {
    const selected = policies.map(({ spec }) =>
      [...pods, ...NAMESAKES]
        .filter((pod) => matches(spec.podSelector.matchLabels, pod))
        .map(({ name }) => name),
    );
    const listening = pods.filter(({ ports }) => ports.length > 0).map(({ name }) => [name]);
    expect(listening.toSorted()).toEqual([['agent'], ['mongodb'], ['operator'], ['relay']]);
    expect(selected.toSorted()).toEqual(listening.toSorted());
    for (const { spec } of policies) expect(spec.policyTypes).toEqual(['Ingress']);
  });

  it('name only ports that the pods have', () => {
    for (const { metadata, spec } of policies) {
      const [pod] = pods.filter((each) => matches(spec.podSelector.matchLabels, each));
      const has = pod?.ports.map(({ name }) => name);
      for (const { ports } of spec.ingress) {
        for (const { port } of ports) expect(has, metadata.name).toContain(port);
      }
    }
  });

  it('let through what the page says, and nothing else: nobody to the port for other clients', async () => {
    const sources = [...pods, ...NAMESAKES, STRANGER];
    const open = pods.flatMap((to) =>
      to.ports.flatMap((port) => {
        const from = sources.filter((source) => isOpen(policies, to, port, source));
        const named = from.includes(STRANGER) ? [STRANGER] : from;
        return named.map(({ name }) => `${to.name} ${port.containerPort} ${name}`);
      }),
    );
    expect(open.toSorted()).toEqual((await documented()).toSorted());
    expect(open.length).toBeGreaterThan(10);
    expect(open.filter((way) => way.includes(` ${STOCK_PORT} `))).toEqual([]);
  });

  it('are not there when they are not wanted', async () => {
    const rendered = await renderChart<Rendered>(['networkPolicy.enabled=false']);
    expect(rendered.length).toBeGreaterThan(0);
    expect(rendered.filter(({ kind }) => kind === 'NetworkPolicy')).toEqual([]);
  });
});
