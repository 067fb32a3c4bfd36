import { describe, expect, it } from 'vitest';
import { newMetrics, resourceOf } from './metrics.ts';

describe('the resource of a path', () => {
  it.each([
    ['/apis/sluice.dev/v1alpha1/namespaces/ml/distributions/llama/status', 'distributions/status'],
    ['/apis/sluice.dev/v1alpha1/namespaces/ml/distributions/llama', 'distributions'],
    ['/apis/sluice.dev/v1alpha1/distributions', 'distributions'],
    ['/apis/sluice.dev/v1alpha1/origins/cdn/status', 'origins/status'],
    ['/api/v1/nodes', 'nodes'],
    ['/api/v1/namespaces/sluice-system/pods/a', 'pods'],
    ['/api/v1/namespaces/sluice-system', 'namespaces'],
    ['/apis/authentication.k8s.io/v1/tokenreviews', 'tokenreviews'],
  ])('%s is %s', (path, resource) => {
    expect(resourceOf(path)).toBe(resource);
  });
});

it('requests and reconciliations are counted', async () => {
  const metrics = newMetrics({
    distributions: () => [],
    isLeader: () => true,
    queueDepth: () => 0,
  });
  metrics.kubeRequest('GET', '/api/v1/nodes');
  metrics.reconciled(3);
  const text = await metrics.registry.metrics();
  expect(text).toContain('sluice_operator_kube_requests_total{method="GET",resource="nodes"} 1');
  expect(text).toContain('sluice_operator_reconcile_seconds_bucket{le="0.005"} 1');
});
