import { expect, it } from 'vitest';
import type { AuditEvent } from './auditedRights.ts';
import { mostWritesIn } from './statusWrites.ts';

function write(atMs: number, change: Partial<AuditEvent> = {}): AuditEvent {
  return {
    stage: 'ResponseComplete',
    verb: 'patch',
    requestURI: '',
    user: { username: 'operator' },
    sourceIPs: ['10.0.0.1'],
    requestReceivedTimestamp: new Date(atMs).toISOString(),
    objectRef: { resource: 'distributions', subresource: 'status', namespace: 'a', name: 'b' },
    ...change,
  };
}

const of = (name: string) => ({ objectRef: { ...write(0).objectRef, name } });

it('counts what one replica writes of one Distribution in ten seconds', () => {
  expect(mostWritesIn([20_000, 0, 1_000, 10_000, 9_999].map((at) => write(at)))).toBe(3);
  expect(mostWritesIn([write(0), write(1, of('c')), write(2, { sourceIPs: ['10.0.0.2'] })])).toBe(
    1,
  );
  expect(mostWritesIn([write(0), write(1, { verb: 'get' })])).toBe(1);
  const spec = { objectRef: { resource: 'distributions', namespace: 'a', name: 'b' } };
  expect(mostWritesIn([write(0), write(1, spec)])).toBe(1);
});

it('does not take a log without any for a run without any', () => {
  const spec = { objectRef: { resource: 'distributions', namespace: 'a', name: 'b' } };
  for (const events of [[], [write(0, spec)]]) {
    expect(() => mostWritesIn(events)).toThrow(/no write of a status/);
  }
});
