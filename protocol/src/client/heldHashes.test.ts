import { describe, expect, it, vi } from 'vitest';
import type { LeaseAnswer, PullerCertificate } from '../leaseMessages.ts';
import { HeldHashes } from './heldHashes.ts';
import type { LeaseAsk } from './leaseClient.ts';
import { processClock } from './testing/processClock.ts';

const CERTIFICATE: PullerCertificate = { pullerKey: 'a2V5', extents: [], signature: 'c2ln' };
const CERTIFIED: LeaseAnswer = { outcome: 'certified', certificates: [CERTIFICATE] };
const WAIT: LeaseAnswer = { outcome: 'wait', reason: 'NotAllowed', retryAfterMs: 10 };

/** Gives these answers, one after the other; an error is thrown. */
function setUp(answers: (LeaseAnswer | Error)[]) {
  const asked: LeaseAsk[] = [];
  const signed: (readonly PullerCertificate[])[] = [];
  const problems: unknown[] = [];
  const held = new HeldHashes(
    { uid: 'u', epoch: 3, pullerKey: 'a2V5' },
    {
      client: {
        lease: async (ask) => {
          asked.push(ask);
          const answer = answers.shift() ?? WAIT;
          if (answer instanceof Error) throw answer;
          return { answer, requestedAtMs: 0, sequence: asked.length };
        },
      },
      clock: processClock,
      sign: (certificates) => signed.push(certificates),
      onProblem: (error) => problems.push(error),
    },
  );
  return { held, asked, signed, problems };
}

describe('a process that has bytes which nobody pulled', () => {
  it('asks for the right to sign them when it is told to, and once', async () => {
    const { held, asked, signed } = setUp([CERTIFIED]);
    held.update({});
    held.update({ signs: false });
    expect(asked).toEqual([]);
    held.update({ signs: true });
    held.update({ signs: true });
    await vi.waitFor(() => expect(signed).toEqual([[CERTIFICATE]]));
    held.update({ signs: true });
    await held.stop();
    expect(asked).toEqual([{ op: 'certify', uid: 'u', epoch: 3, pullerKey: 'a2V5' }]);
  });

  it('asks again when it is to wait, or nobody answers', async () => {
    const { held, asked, signed, problems } = setUp([WAIT, new Error('away'), WAIT, CERTIFIED]);
    held.update({ signs: true });
    await vi.waitFor(() => expect(signed).toHaveLength(1), { timeout: 10_000 });
    expect(asked).toHaveLength(4);
    expect(problems).toMatchObject([{ message: 'away' }]);
  });

  it('stops with its transfer', async () => {
    const { held, signed, problems } = setUp([]);
    held.update({ signs: true });
    await held.stop();
    expect([signed, problems]).toEqual([[], []]);
  });
});
