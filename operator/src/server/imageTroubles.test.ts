import { describe, expect, it } from 'vitest';
import type { PodObject } from './callers.ts';
import { ImageTroubles } from './imageTroubles.ts';

function pod(
  labels: Record<string, string>,
  waiting: { reason: string; message?: string } | undefined,
): PodObject {
  return {
    metadata: { name: 'p', namespace: 'n', uid: 'u', resourceVersion: '1', labels },
    spec: { nodeName: 'node-a' },
    status: {
      containerStatuses: [
        { image: 'sluice-relay:9', state: waiting === undefined ? { running: {} } : { waiting } },
      ],
    },
  };
}

const relay = { 'app.kubernetes.io/component': 'relay', 'sluice.dev/domain': 'zone-a' };
const agent = { 'app.kubernetes.io/component': 'agent' };

describe('images that cannot be pulled', () => {
  it('are told for the domain of a relay, until it runs', () => {
    const troubles = new ImageTroubles();
    const broken = pod(relay, { reason: 'ImagePullBackOff', message: 'no such host' });
    troubles.podChanged(broken, undefined);
    expect(troubles.relay('zone-a')).toBe(
      "image 'sluice-relay:9' cannot be pulled (ImagePullBackOff, no such host)",
    );
    expect(troubles.relay('zone-b')).toBeUndefined();
    troubles.podChanged(pod(relay, undefined), broken);
    expect(troubles.relay('zone-a')).toBeUndefined();
  });

  it('are told for the node of an agent, until its pod is gone', () => {
    const troubles = new ImageTroubles();
    const broken = pod(agent, { reason: 'ErrImageNeverPull' });
    troubles.podChanged(broken, undefined);
    expect(troubles.agent('node-a')).toMatch(/ErrImageNeverPull/);
    troubles.podChanged(undefined, broken);
    expect(troubles.agent('node-a')).toBeUndefined();
  });

  it('are not those of a container that only starts', () => {
    const troubles = new ImageTroubles();
    troubles.podChanged(pod(relay, { reason: 'ContainerCreating' }), undefined);
    expect(troubles.relay('zone-a')).toBeUndefined();
  });
});
