import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SessionGrant } from '../messages.ts';
import { ControlError, type ControlErrorCode } from './controlError.ts';
import { type SessionDependencies, SessionKeeper } from './session.ts';

const LIFE_MS = 900_000;
let folder = '';
let nowMs = 0;
let random = 0;
/** Each purchase fails with this; undefined: it succeeds. */
let failure: ControlErrorCode | undefined;
/** When the control server wants to be asked again. */
let retryAfterMs: number | undefined;
let bought = 0;
let asked = 0;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-session-'));
  await writeFile(path.join(folder, 'token'), 'node-a');
});
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(() => {
  nowMs = 5_000;
  random = 0;
  failure = undefined;
  retryAfterMs = undefined;
  bought = 0;
  asked = 0;
});

const call = async (): Promise<SessionGrant> => {
  asked += 1;
  if (failure !== undefined) {
    throw new ControlError(failure, 'as the test wants it', { retryAfterMs });
  }
  bought += 1;
  return {
    protocolVersion: 1,
    sessionToken: `session-${bought}`,
    expiresInSeconds: LIFE_MS / 1000,
    reportIntervalMs: 1000,
    nodeName: 'node-a',
  };
};

function keeper(): SessionKeeper {
  return new SessionKeeper(
    {
      protocolVersions: [1],
      tokenFile: path.join(folder, 'token'),
      kind: 'agent',
      incarnation: 'i',
      bitTorrentPort: 6881,
    },
    {
      http: { call: call as SessionDependencies['http']['call'] },
      clock: { now: () => nowMs },
      random: () => random,
    },
  );
}

describe('a session', () => {
  it.each([
    { drawn: 0, renewedAfterMs: LIFE_MS / 3 },
    { drawn: 0.5, renewedAfterMs: LIFE_MS / 2 },
    { drawn: 0.999, renewedAfterMs: (LIFE_MS * 1.999) / 3 },
  ])('is renewed in the second third of its life: $drawn', async ({ drawn, renewedAfterMs }) => {
    random = drawn;
    const sessions = keeper();
    await sessions.current();
    nowMs += renewedAfterMs - 1;
    expect((await sessions.current()).sessionToken).toBe('session-1');
    nowMs += 2;
    expect((await sessions.current()).sessionToken).toBe('session-2');
  });

  it('that cannot be renewed is used to its end, and renewed later', async () => {
    const sessions = keeper();
    await sessions.current();
    failure = 'Unavailable';
    nowMs += LIFE_MS / 3;
    random = 0.5;
    expect((await sessions.current()).sessionToken).toBe('session-1');
    failure = undefined;
    // Two thirds of its life are left; a quarter of that it waits.
    nowMs += LIFE_MS / 6 - 1;
    expect((await sessions.current()).sessionToken).toBe('session-1');
    nowMs += 2;
    expect((await sessions.current()).sessionToken).toBe('session-2');
  });

  it('that has ended is none', async () => {
    const sessions = keeper();
    await sessions.current();
    failure = 'Unavailable';
    nowMs += LIFE_MS;
    await expect(sessions.current()).rejects.toMatchObject({ code: 'Unavailable' });
  });

  it.each(['Unauthenticated', 'Refused', 'UnknownVersion'] as const)(
    'is not used any more when a new one is refused: %s',
    async (code) => {
      const sessions = keeper();
      await sessions.current();
      failure = code;
      nowMs += LIFE_MS / 2;
      await expect(sessions.current()).rejects.toMatchObject({ code });
    },
  );

  it('is not asked for before the time that the control server has named', async () => {
    const sessions = keeper();
    failure = 'Unavailable';
    retryAfterMs = 3_000;
    await expect(sessions.current()).rejects.toMatchObject({ retryAfterMs: 3_000 });
    nowMs += 2_000;
    await expect(sessions.current()).rejects.toMatchObject({ retryAfterMs: 1_000 });
    expect(asked).toBe(1);
    failure = undefined;
    nowMs += 1_000;
    expect((await sessions.current()).sessionToken).toBe('session-1');
  });

  it('is used meanwhile when it is to be renewed', async () => {
    const sessions = keeper();
    await sessions.current();
    failure = 'Unavailable';
    retryAfterMs = 3_000;
    nowMs += LIFE_MS / 3;
    for (let second = 0; second < 3; second += 1) {
      expect((await sessions.current()).sessionToken).toBe('session-1');
      nowMs += 1_000;
    }
    expect(asked).toBe(2);
  });

  it('that was refused itself does not come back', async () => {
    const sessions = keeper();
    sessions.invalidate(await sessions.current());
    failure = 'Unreachable';
    await expect(sessions.current()).rejects.toMatchObject({ code: 'Unreachable' });
  });
});
