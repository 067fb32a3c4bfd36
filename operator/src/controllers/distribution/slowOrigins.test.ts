import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { settle } from '../../testing/fakeClock.ts';
import { LeadingController } from '../../testing/leadingController.ts';

const UID = 'uid-first';
const SILENT = 'silent.example.com';

let leading: LeadingController;

beforeEach(async () => {
  leading = new LeadingController(['n1', 'n2']);
  leading.silent.add(SILENT);
  await leading.start();
});
afterEach(() => leading.stop());

function plan() {
  return leading.data.plans.get(UID);
}

/** At its own path: else they would wait for each other. */
function applyAt(name: string, host: string, suspend = false): void {
  const source = { url: `http://${host}/file.bin` };
  leading.apply(name, { source, suspend, target: { path: name } });
}

describe('an origin that does not answer', () => {
  it.each([
    ['one host', () => SILENT],
    ['a host each', (at: number) => `${at}.${SILENT}`],
  ])('keeps nobody else waiting: 40 Distributions of %s', async (_, hostOf) => {
    applyAt('running', 'origin.example.com');
    await leading.pass(1_000);
    for (let at = 0; at < 40; at += 1) {
      leading.silent.add(hostOf(at));
      applyAt(`slow-${at}`, hostOf(at));
    }
    await leading.pass(1_000);
    expect(leading.unanswered.size).toBeGreaterThan(7);
    applyAt('healthy', 'origin.example.com');
    applyAt('running', 'origin.example.com', true);
    await leading.pass(1_000);
    expect(leading.data.plans.has('uid-healthy')).toBe(true);
    expect(leading.data.plans.get('uid-running')?.suspend).toBe(true);
    leading.data.confirm('uid-running');
    leading.delete('running');
    leading.delete('slow-39');
    leading.data.confirm('uid-slow-39');
    await leading.pass(2_000);
    expect(leading.objects.has('ml/running')).toBe(false);
    expect(leading.objects.has('ml/slow-39')).toBe(false);
  });

  it.each([
    ['a file', { url: `http://${SILENT}/file.bin` }],
    ['a set', { url: `http://${SILENT}/set/`, files: [{ path: 'a' }] }],
  ])('does not keep its own from being suspended, edited or deleted: %s', async (_, source) => {
    leading.apply('first', {});
    await leading.pass(1_000);
    leading.apply('first', { source });
    await leading.pass(1_000);
    expect(leading.unanswered.size).toBe(1);
    expect(leading.condition('first', 'Ready')).toBe('False/Resolving');
    leading.apply('first', { source, suspend: true });
    await leading.pass(1_000);
    expect(plan()?.suspend).toBe(true);
    expect(leading.unanswered.size, 'nobody wants to know any more').toBe(0);
    leading.apply('first', { source });
    await leading.pass(1_000);
    expect(leading.unanswered.size).toBe(1);
    leading.apply('first', {});
    await leading.pass(1_000);
    expect(plan()?.record.epoch).toBe(1);
    expect(leading.unanswered.size).toBe(0);
    leading.apply('first', { source });
    await leading.pass(1_000);
    leading.delete('first');
    leading.data.confirm(UID);
    await leading.pass(2_000);
    expect(leading.objects.size).toBe(0);
    expect(leading.unanswered.size).toBe(0);
  });

  it('is told of after a moment, and what another one has answered at once', async () => {
    applyAt('first', SILENT);
    applyAt('healthy', 'origin.example.com');
    await settle();
    expect(leading.statuses.get('healthy')?.epoch?.number).toBe(1);
    await leading.clock.advance(200);
    expect(leading.statuses.has('first')).toBe(false);
    await leading.clock.advance(100);
    expect(leading.condition('first', 'Ready')).toBe('False/Resolving');
  });

  it('is told of at once when it refuses at once', async () => {
    leading.data.source = () => {
      throw Object.assign(new Error('404 Not Found'), { code: 'HttpStatus', httpStatus: 404 });
    };
    applyAt('first', 'origin.example.com');
    await settle();
    expect(leading.condition('first', 'SourceResolved')).toMatch(/^False/);
  });

  it('is heard when it answers late', async () => {
    applyAt('first', SILENT);
    await leading.pass(20_000);
    expect(plan()).toBeUndefined();
    for (const answer of leading.unanswered.values()) answer();
    await leading.pass(1_000);
    expect(plan()?.record.url).toBe(`http://${SILENT}/file.bin`);
  });

  it('is given up in the end, and told', async () => {
    applyAt('first', SILENT);
    await leading.pass(31_000);
    expect(leading.condition('first', 'SourceResolved')).toBe('False/SourceUnavailable');
    expect(leading.unanswered.size, 'and asked again').toBeLessThan(2);
  });
});
