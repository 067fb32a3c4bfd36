import { describe, expect, it } from 'vitest';
import { planInstall } from './installPlan.ts';

describe('make install', () => {
  it('names images after the registry and the revision, for the chart as for the push', () => {
    const plan = planInstall({
      kubeconfig: '/home/me/.kube/config',
      registry: 'registry.example.com:5000/team/',
      revision: '1a2b3c4-dirty',
    });
    expect(plan.images.relay).toBe('registry.example.com:5000/team/sluice-relay:1a2b3c4-dirty');
    expect(plan.values).toMatchObject({
      'relay.image.repository': 'registry.example.com:5000/team/sluice-relay',
      'relay.image.tag': '1a2b3c4-dirty',
      'operator.image.repository': 'registry.example.com:5000/team/sluice-operator',
      'agent.image.repository': 'registry.example.com:5000/team/sluice-agent',
    });
  });

  it.each([
    ['1a2b3c4', 'IfNotPresent'],
    ['1a2b3c4-dirty', 'Always'],
  ])('pulls images of revision %s with %s', (revision, pullPolicy) => {
    const plan = planInstall({ kubeconfig: '/config', registry: 'registry.example.com', revision });
    expect(plan.values['agent.image.pullPolicy']).toBe(pullPolicy);
  });

  it.each([
    [{ kubeconfig: undefined, registry: 'registry.example.com' }, 'KUBECONFIG is not set'],
    [{ kubeconfig: '/config', registry: undefined }, 'REGISTRY is not set'],
    [{ kubeconfig: '/config', registry: '' }, 'REGISTRY is not set'],
    [{ kubeconfig: '/config', registry: 'https://registry.example.com' }, 'without https://'],
    [{ kubeconfig: '/config', registry: 'registry.example.com/Team' }, 'in lower case'],
  ])('refuses %o', (request, message) => {
    expect(() => planInstall({ ...request, revision: '1a2b3c4' })).toThrow(message);
  });
});
