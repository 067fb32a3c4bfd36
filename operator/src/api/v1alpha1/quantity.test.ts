import { describe, expect, it } from 'vitest';
import { formatBytes, formatSeconds, parseBytes, parseDurationSeconds } from './quantity.ts';

describe('quantities', () => {
  it.each([
    ['20Mi', 20 * 2 ** 20],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['100k', 100_000],
    [1048576, 1048576],
    ['0', 0],
    ['4Pi', 4 * 2 ** 50],
    ['9Pi', undefined],
    ['-1', undefined],
    ['10mb', undefined],
    ['', undefined],
    ['100m', undefined],
  ])('%s is %s bytes', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  it.each([
    ['720h', 2_592_000],
    ['1h30m', 5400],
    ['120s', 120],
    ['', undefined],
    ['5', undefined],
    ['-5s', undefined],
  ])('%s is %s seconds', (text, seconds) => {
    expect(parseDurationSeconds(text)).toBe(seconds);
  });

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [256 * 2 ** 20, '256 MiB'],
  ])('%i bytes read %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    [0.4, '0s'],
    [59, '59s'],
    [192, '3m12s'],
    [7500, '2h5m'],
    [360_000, '4d4h'],
  ])('%d seconds read %s', (seconds, text) => {
    expect(formatSeconds(seconds)).toBe(text);
  });
});
