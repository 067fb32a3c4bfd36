import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatDuration, runCommand } from './command.ts';

describe('running a command', () => {
  it('gives its output and exit code', async () => {
    const result = await runCommand(['sh', '-c', 'echo out; echo err >&2; exit 3'], {
      timeoutMs: 10_000,
      output: 'collect',
    });
    expect(result).toMatchObject({ exitCode: 3, timedOut: false });
    expect(result.output).toContain('out\n');
    expect(result.output).toContain('err\n');
  });

  it('says so when the program is not there', async () => {
    const result = await runCommand(['no-such-program'], { timeoutMs: 10_000, output: 'collect' });
    expect(result.exitCode).toBe(127);
    expect(result.output).toContain('no-such-program');
  });

  it('ends what is over its time, with the processes that it started', async () => {
    const result = await runCommand(['sh', '-c', 'sleep 60 & echo $!; wait'], {
      timeoutMs: 300,
      output: 'collect',
    });
    expect(result.timedOut).toBe(true);
    expect(result.durationMs).toBeLessThan(10_000);
    const grandchild = Number(result.output.trim());
    expect(grandchild).toBeGreaterThan(1);
    await expect.poll(() => isRunning(grandchild)).toBe(false);
  });

  it('leaves nothing running after the command has ended', async () => {
    const { output } = await runCommand(['sh', '-c', 'sleep 60 >/dev/null 2>&1 & echo $!'], {
      timeoutMs: 10_000,
      output: 'collect',
    });
    await expect.poll(() => isRunning(Number(output.trim()))).toBe(false);
  });

  it.each([
    [7_310, '7.3 s'],
    [59_949, '59.9 s'],
    [724_000, '12 min 4 s'],
  ])('writes %d ms as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});

/** A zombie that nobody has reaped yet has ended, too. */
function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z';
  } catch {
    return false;
  }
}
