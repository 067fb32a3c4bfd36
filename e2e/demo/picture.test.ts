import { describe, expect, it } from 'vitest';
import type { NodeView } from '../install/readClient.ts';
import type { Snapshot } from './delivery.ts';
import { picture, plainLine } from './picture.ts';

const MIB = 1024 * 1024;

function node(name: string, received: Partial<NodeView['received']>): NodeView {
  const from = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0, ...received };
  return {
    name,
    state: 'transferring',
    connected: true,
    verifiedBytes: Object.values(from).reduce((sum, bytes) => sum + bytes, 0),
    rateBytesPerSecond: MIB,
    received: from,
    uploadedBytes: 0,
  };
}

function snapshot(nodes: readonly NodeView[], sizeBytes = 10 * MIB): Snapshot {
  return { elapsedSeconds: 3, sizeBytes, nodes, relays: [], originBytes: 5 * MIB };
}

describe('the picture of a delivery', () => {
  it('has a bar for each node, filled by where its bytes came from', () => {
    const half = node('node-1', { fromPeers: 3 * MIB, fromRelays: MIB, fromRelayHttp: MIB });
    const [, line] = picture(snapshot([half]), { width: 80, colour: false });
    expect(line).toContain(`[${'█'.repeat(12)}${'▓'.repeat(4)}${'▒'.repeat(4)}${'·'.repeat(20)}]`);
    expect(line).toContain('50%');
    expect(line).toContain('1.0 MiB/s');
  });

  it.each([60, 80, 200])('fits %i columns', (width) => {
    const views = [node('node-1', { fromPeers: MIB }), node('sluice-relay-a', { fromPeers: MIB })];
    const lines = picture(snapshot(views), { width, colour: false });
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
  });

  it('of an empty file is full at once', () => {
    const [, line] = picture(snapshot([node('node-1', {})], 0), { width: 80, colour: false });
    expect(line).toContain('100%');
  });

  it('of what arrived twice does not grow over the bar', () => {
    const twice = { ...node('node-1', { fromPeers: 20 * MIB }), verifiedBytes: 10 * MIB };
    const [, line] = picture(snapshot([twice]), { width: 80, colour: false });
    expect(line).toContain(`[${'█'.repeat(40)}]`);
  });
});

describe('the plain line', () => {
  it('tells every node and the sum of their speeds', () => {
    const nodes = [node('node-1', { fromPeers: MIB }), node('node-2', { fromPeers: 5 * MIB })];
    expect(plainLine(snapshot(nodes))).toBe('3 s   nodes 10% 50%   2.0 MiB/s   origin 5.0 MiB');
  });

  it('says that nothing is known yet', () => {
    expect(plainLine(snapshot([]))).toContain('nodes wait');
  });
});
