import { describe, expect, it } from 'vitest';
import {
  InvalidMessageError,
  type Parser,
  parseApiError,
  parseLeaseAnswer,
  parseLeaseRequest,
  parseReport,
  parseReportAnswer,
  parseSessionGrant,
  parseSessionRequest,
  parseWorkMessage,
} from './validate.ts';

function messageOf(parse: (value: unknown) => unknown, value: unknown): string {
  try {
    parse(value);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidMessageError);
    return (error as Error).message;
  }
  return 'no error';
}

describe('the check of messages', () => {
  it('takes what the schema says', () => {
    const message = { type: 'askLease', uid: 'a-1', epoch: 1 };
    expect(parseWorkMessage(message)).toBe(message);
  });

  it.each([
    [{ type: 'askLease', uid: 'a', epoch: 0 }, 'work message askLease: /epoch must be >= 1'],
    [{ type: 'nonsense' }, 'work message: type is none of task, remove, peers, askLease'],
    ['text', 'work message: type is none of'],
    [null, 'work message: type is none of'],
    [{ type: 'remove', uid: '../..', deleteFiles: true }, 'work message remove: /uid must match'],
  ])('says of %j what is wrong with the member that was meant', (value, expected) => {
    expect(messageOf(parseWorkMessage, value)).toContain(expected);
  });

  it('never repeats a value', () => {
    const secret = { op: 'acquire', incarnation: '12345678', sequence: 'hunter2hunter2' };
    expect(messageOf(parseLeaseRequest, secret)).not.toContain('hunter2');
  });

  it('keeps its text short however long the message is', () => {
    const long = { type: 'remove', uid: 'u', deleteFiles: true, ['x'.repeat(100_000)]: 1 };
    expect(messageOf(parseWorkMessage, long).length).toBeLessThan(320);
  });
});

const uid = 'u-1';
const extent = { first: 0, count: 1 };
const certificate = { pullerKey: 'AAAA', extents: [extent], signature: 'AAAA' };
const grant = {
  leaseId: 'lease-1',
  version: 1,
  uid,
  epoch: 1,
  extents: [extent],
  maxBytes: 1,
  rateBytesPerSecond: 1,
  slackBytes: 1,
  connections: 1,
  ttlMs: 10_000,
  certificate,
};
const granted = { outcome: 'granted', grant };
const key = { incarnation: '12345678', sequence: 1 };
const task = {
  uid,
  namespace: 'ml',
  name: 'llama',
  epoch: 1,
  swarmId: 'ab'.repeat(20),
  pieceLengthBytes: 262_144,
  files: [{ path: 'f', sizeBytes: 1 }],
  feedKey: 'AAAA',
  swarmSecret: 'AAAA',
  relayToken: 'token',
  delivery: { topUp: [], transport: 'Hybrid' },
  target: { path: 'llama', fileMode: '0644' },
};
const received = { fromPeers: 0, fromRelays: 0, fromRelayHttp: 0, fromOrigin: 0 };
const transfer = {
  uid,
  epoch: 1,
  state: 'transferring',
  verifiedPieces: 0,
  verifiedBytes: 0,
  received,
  uploadedBytes: 0,
  rateBytesPerSecond: 0,
};
const newer = { ofANewerRelease: true };

describe('a field that a newer release may have added', () => {
  const session = { protocolVersions: [1], kind: 'agent', incarnation: '12345678' };
  const renewal = { op: 'renew', ...key, leaseId: 'l', version: 1, usedBytes: 0, unfinished: [] };
  const peer = { id: 'p', role: 'agent', host: '10.0.0.1', port: 6881 };

  it.each<[string, Parser<unknown>, unknown]>([
    ['a session request', parseSessionRequest, { ...session, bitTorrentPort: 1, ...newer }],
    [
      'a session',
      parseSessionGrant,
      {
        protocolVersion: 1,
        sessionToken: 't',
        expiresInSeconds: 900,
        reportIntervalMs: 1_000,
        nodeName: 'n',
        ...newer,
      },
    ],
    ['a task', parseWorkMessage, { type: 'task', task: { ...task, ...newer }, ...newer }],
    [
      "a task's delivery, files and target",
      parseWorkMessage,
      {
        type: 'task',
        task: {
          ...task,
          delivery: { ...task.delivery, ...newer },
          files: [{ ...task.files[0], ...newer }],
          target: { ...task.target, ...newer },
        },
      },
    ],
    [
      'peers',
      parseWorkMessage,
      { type: 'peers', uid, epoch: 1, peers: [{ ...peer, ...newer }], ...newer },
    ],
    ['a call', parseWorkMessage, { type: 'askLease', uid, epoch: 1, ...newer }],
    ['a heartbeat', parseWorkMessage, { type: 'heartbeat', ...newer }],
    ['a report', parseReport, { ...key, transfers: [{ ...transfer, ...newer }], ...newer }],
    ['the answer to it', parseReportAnswer, { reportIntervalMs: 1_000, ...newer }],
    [
      'a request for a lease',
      parseLeaseRequest,
      { ...renewal, wantRateBytesPerSecond: 1, ...newer },
    ],
    [
      'the answer to wait',
      parseLeaseAnswer,
      { outcome: 'wait', reason: 'NotReady', retryAfterMs: 10, ...newer },
    ],
    ['a refusal', parseApiError, { code: 'Newer', message: 'of a newer release', ...newer }],
  ])('is passed over in %s', (_, parse, message) => {
    expect(parse(message)).toBe(message);
  });

  it.each<[string, Parser<unknown>, unknown]>([
    ['a tombstone', parseWorkMessage, { type: 'remove', uid, deleteFiles: true, ...newer }],
    ['a grant', parseLeaseAnswer, { ...granted, grant: { ...grant, ...newer } }],
    ['what is around a grant', parseLeaseAnswer, { ...granted, ...newer }],
    [
      'an extent',
      parseLeaseAnswer,
      { ...granted, grant: { ...grant, extents: [{ ...extent, ...newer }] } },
    ],
    [
      'a certificate',
      parseLeaseAnswer,
      { ...granted, grant: { ...grant, certificate: { ...certificate, ...newer } } },
    ],
  ])('is refused by its name in %s, which may say that less is allowed', (_, parse, message) => {
    expect(messageOf(parse, message)).toContain('(ofANewerRelease)');
  });

  it('is none in a whole grant, nor in a whole tombstone', () => {
    expect(parseLeaseAnswer(granted)).toBe(granted);
    const tombstone = { type: 'remove', uid, epoch: 1, deleteFiles: true };
    expect(parseWorkMessage(tombstone)).toBe(tombstone);
  });
});
