import { once } from 'node:events';
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

it('a line without an end ends the request before it is in memory', async () => {
  const closed = once(request, 'close');
  await say('x'.repeat(LIMIT_BYTES));
  expect(request.destroyed).toBe(false);
  await say('x');
  await closed;
  expect(heard).toEqual([]);
});

it('a connection that breaks is no error of ours', async () => {
  const closed = new Promise((resolve) => request.once('close', resolve));
  request.destroy(new Error('ECONNRESET'));
  await closed;
  expect(heard).toEqual([]);
});
