import { beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from 'winston';
import type { Assignment } from '../store/assignments.ts';
import { AssignmentWriter } from './assignmentWriter.ts';

const ROW: Assignment = {
  uid: 'u',
  epoch: 1,
  node: 'n1',
  progress: {
    state: 'ready',
    verifiedBytes: 5,
    rateBytesPerSecond: 0,
    received: { fromPeers: 5, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 },
  },
};

let written: Assignment[][];
let fault: Error | undefined;
let writer: AssignmentWriter;

beforeEach(() => {
  written = [];
  fault = undefined;
  writer = new AssignmentWriter({
    assignments: {
      load: async () => [],
      save: async (rows) => {
        if (fault !== undefined) throw fault;
        written.push([...rows]);
      },
      delete: async () => {},
      deleteNodes: async () => {},
    },
    logger: createLogger({ silent: true }),
  });
});

describe('rows that a leader leaves behind', () => {
  it('are written before it is over, with those that are under way', async () => {
    writer.note(ROW);
    writer.save(() => true);
    writer.note({ ...ROW, node: 'n2' });
    await writer.flush();
    expect(written.flat().map(({ node }) => node)).toEqual(['n1', 'n2']);
    await writer.flush();
    expect(written).toHaveLength(2);
  });

  it('hold nobody up when they cannot be written', async () => {
    fault = new Error('the database is away');
    writer.note(ROW);
    await writer.flush();
    fault = undefined;
    await writer.flush();
    expect(written).toEqual([]);
  });
});
