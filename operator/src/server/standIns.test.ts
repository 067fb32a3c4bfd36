import { describe, expect, it } from 'vitest';
import { StandIns } from './standIns.ts';
import type { ProcessInfo } from './work.ts';

function member(kind: ProcessInfo['kind'], node: string, domain: string) {
  const ports = { bitTorrentPort: 6881, httpPort: undefined };
  return { process: { id: `${kind}-${node}`, kind, node, domain, host: node, ...ports }, domain };
}

const agents = [
  member('agent', 'n3', 'a'),
  member('agent', 'n1', 'a'),
  member('agent', 'n2', 'b'),
] as const;
const relay = member('relay', 'r', 'b');

describe('agents', () => {
  it('pull where no relay came within 30 seconds, one a domain, until one does', () => {
    const standIns = new StandIns();
    const at = (nowMs: number, members = [...agents] as ReturnType<typeof member>[]) =>
      [...standIns.choose(members, true, nowMs)].sort();
    expect(at(0)).toEqual([]);
    expect(standIns.isWaiting).toBe(true);
    expect(at(29_999)).toEqual([]);
    expect(at(30_000)).toEqual(['agent-n1', 'agent-n2']);
    expect(standIns.isWaiting).toBe(false);
    // Another one that would be first does not take the place of who has begun.
    expect(at(30_001, [...agents, member('agent', 'n0', 'a')])).toEqual(['agent-n1', 'agent-n2']);
    expect(at(30_002, [agents[0], agents[2]])).toEqual(['agent-n2', 'agent-n3']);
    expect(at(40_000, [...agents, relay])).toEqual([]);
    expect(standIns.has('agent-n1')).toBe(false);
    // Gone again: it may come back.
    expect(at(40_001)).toEqual([]);
    expect(at(70_001)).toEqual(['agent-n1', 'agent-n2']);
  });

  it('do not pull what a node has already', () => {
    const standIns = new StandIns();
    standIns.choose(agents, false, 0);
    expect([...standIns.choose(agents, false, 60_000)]).toEqual([]);
    expect(standIns.isWaiting).toBe(false);
  });

  it('are a few, however many domains there are', () => {
    const many = Array.from({ length: 20 }, (_, at) => member('agent', `n${at}`, `zone-${at}`));
    const standIns = new StandIns();
    standIns.choose(many, true, 0);
    expect(standIns.choose(many, true, 30_000).size).toBe(8);
  });
});
