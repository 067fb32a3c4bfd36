import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeDataSide } from '../../testing/fakeDataSide.ts';
import { LeadingController } from '../../testing/leadingController.ts';
import { aReport } from '../../testing/objects.ts';
import { CredentialsError } from './credentials.ts';

const UID = 'uid-first';

let leading: LeadingController;

beforeEach(async () => {
  leading = new LeadingController(['n1', 'n2']);
  await leading.start();
});
afterEach(() => leading.stop());

function plan() {
  return leading.data.plans.get(UID);
}

function unavailable(): never {
  throw Object.assign(new Error('503'), { code: 'HttpStatus', httpStatus: 503 });
}

describe('a source that changes in mid-transfer', () => {
  async function changed(): Promise<void> {
    const sourceChanged = true;
    leading.data.report(UID, [aReport('n1'), aReport('n2')], { sourceChanged });
    await leading.pass(1_000);
  }

  beforeEach(async () => {
    leading.apply('first', {});
    await leading.pass(1_000);
  });

  it('is no failure any more when the last nodes have it from others', async () => {
    leading.data.source = unavailable;
    await changed();
    await leading.pass(5_000);
    expect(leading.condition('first', 'SourceResolved')).toBe('False/SourceUnavailable');
    const ready = ['n1', 'n2'].map((name) => aReport(name, { state: 'ready' }));
    leading.data.report(UID, ready, { sourceChanged: true });
    await leading.pass(3_000);
    expect(leading.condition('first', 'Ready')).toBe('True/Delivered');
    expect(leading.condition('first', 'SourceResolved')).toBe('True/Resolved');
  });

  it('is asked at once when it is edited, however often it has changed', async () => {
    for (let epoch = 2; epoch <= 7; epoch += 1) {
      await changed();
      for (let second = 0; second < 30 && plan()?.record.epoch !== epoch; second += 1) {
        await leading.pass(1_000);
      }
      expect(plan()?.record.epoch).toBe(epoch);
    }
    await changed();
    expect(plan()?.record.epoch, 'not at once').toBe(7);
    const url = 'http://origin.example.com/other.bin';
    leading.apply('first', { source: { url } });
    await leading.pass(1_000);
    expect(plan()?.record).toMatchObject({ epoch: 8, url });
  });

  it('that has gone is told, and its nodes go on', async () => {
    leading.data.source = () => {
      throw Object.assign(new Error('404'), { code: 'HttpStatus', httpStatus: 404 });
    };
    await changed();
    await leading.pass(5_000);
    expect(leading.condition('first', 'Stalled')).toBe('True/SourceNotFound');
    expect(plan()?.record.epoch).toBe(1);
    leading.data.source = FakeDataSide.source;
    await leading.pass(60_000);
    expect(plan()?.record.epoch).toBe(2);
  });
});

describe('a Secret that is gone in mid-transfer', () => {
  const spec = { source: { secretRef: { name: 'cdn' } } };
  let reads: number;

  beforeEach(async () => {
    leading.apply('first', spec);
    await leading.pass(1_000);
    reads = 0;
    leading.readCredentials = async () => {
      reads += 1;
      throw new CredentialsError('SecretNotFound', "there is no Secret 'cdn'");
    };
  });

  /** Bytes move all the time. */
  async function transfer(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      leading.data.report(UID, [aReport('n1', { verifiedBytes: leading.clock.now() })]);
      await leading.pass(1_000);
    }
  }

  it('is looked for ever more rarely, however much is reported, and found when it is back', async () => {
    await transfer(90);
    expect(reads).toBeGreaterThan(2);
    expect(reads).toBeLessThan(8);
    leading.readCredentials = async () => ({ authorization: 'Bearer t' });
    await transfer(60);
    expect(plan()?.headers).toEqual({ authorization: 'Bearer t' });
    expect(leading.condition('first', 'SourceResolved')).toBe('True/Resolved');
  });

  it('is looked for at once when another one is named', async () => {
    await transfer(60);
    leading.readCredentials = async () => ({ authorization: 'Bearer t' });
    leading.apply('first', { source: { secretRef: { name: 'other' } } });
    await transfer(1);
    expect(plan()?.headers).toEqual({ authorization: 'Bearer t' });
  });
});
