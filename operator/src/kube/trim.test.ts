import { expect, it } from 'vitest';
import { trimNode, trimPod } from './trim.ts';

const metadata = { name: 'a', uid: 'u', resourceVersion: '7', labels: { zone: 'z' } };
const heavy = { ...metadata, managedFields: [{}], annotations: { a: 'b' } };

it('a node is kept by its labels, its state and whether pods may be put there', () => {
  const conditions = [
    { type: 'Ready', status: 'True', lastHeartbeatTime: 'now' },
    { type: 'DiskPressure', status: 'False' },
  ];
  const node = {
    metadata: heavy,
    spec: { unschedulable: true, podCIDR: '10.0.0.0/24' },
    status: { conditions, images: [{}] },
  };
  expect(trimNode(node)).toEqual({
    metadata,
    spec: { unschedulable: true },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  });
});

it('a pod is kept by where it is and how its containers are', () => {
  const containerStatuses = [{ image: 'i', state: { running: {} } }];
  const pod = {
    metadata: heavy,
    spec: { nodeName: 'n', containers: [{}] },
    status: { phase: 'Running', podIP: '10.0.0.1', containerStatuses, conditions: [] },
  };
  expect(trimPod(pod)).toEqual({
    metadata,
    spec: { nodeName: 'n' },
    status: { phase: 'Running', podIP: '10.0.0.1', containerStatuses },
  });
});
