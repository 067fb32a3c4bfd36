import { PassThrough } from 'node:stream';
import type { Report } from '@sluice/protocol/messages.ts';
import { beforeEach, expect, it } from 'vitest';
import { readReports } from './reportLines.ts';

const LIMIT_BYTES = 200;

let request: PassThrough;
let heard: (Report | string)[];

beforeEach(() => {
  request = new PassThrough();
  heard = [];
  readReports(request, LIMIT_BYTES, {
    report: (report) => heard.push(report),
    refused: (why) => heard.push(why),
    failed: (error) => heard.push(`failed: ${error}`),
  });
});

const reportOf = (sequence: number) => ({ incarnation: 'one-of-it', sequence, transfers: [] });

async function say(text: string): Promise<void> {
  request.write(text);
  await new Promise(setImmediate);
}

it('reports are heard one by one, however their bytes come', async () => {
  const text = `\n${[1, 2, 3].map((each) => `${JSON.stringify(reportOf(each))}\n`).join('')}`;
  for (const character of text) await say(character);
  expect(heard).toEqual([1, 2, 3].map(reportOf));
  await say(text);
  expect(heard).toHaveLength(6);
});

it('what is none is refused by name, and the next one counts', async () => {
  await say(`nothing\n{"sequence":1}\n${JSON.stringify(reportOf(4))}\n`);
  expect(heard).toEqual([
    'report: it is not JSON',
    "report: must have required property 'incarnation'",
    reportOf(4),
  ]);
});

it('nothing is heard after a line without an end, which is never in memory', async () => {
  await say('x'.repeat(LIMIT_BYTES));
  expect(heard).toEqual([]);
  await say('x');
  await say(`x\n${JSON.stringify(reportOf(1))}\n`);
  expect(heard).toEqual([
    `failed: InvalidMessageError: a line is longer than ${LIMIT_BYTES} bytes`,
  ]);
});

it('what cannot be dealt with is told and not thrown, where nobody would catch it', async () => {
  const other = new PassThrough();
  const failures: unknown[] = [];
  const trouble = new Error('trouble');
  readReports(other, LIMIT_BYTES, {
    report: () => {
      throw trouble;
    },
    refused: () => {},
    failed: (error) => failures.push(error),
  });
  for (const sequence of [1, 2]) other.write(`${JSON.stringify(reportOf(sequence))}\n`);
  await new Promise(setImmediate);
  expect(failures).toEqual([trouble]);
});

it('a connection that breaks is no error of ours', async () => {
  const closed = new Promise((resolve) => request.once('close', resolve));
  request.destroy(new Error('ECONNRESET'));
  await closed;
  expect(heard).toEqual([]);
});
