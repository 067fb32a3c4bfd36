import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ControlHttp } from './controlHttp.ts';
import { makeCertificates } from './testing/certificates.ts';
import { FakeControlServer } from './testing/fakeControlServer.ts';
import { Trust } from './trust.ts';

const NEVER = new AbortController().signal;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-http-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('waits at a standby that says that it holds it, for longer than for an answer', async () => {
  const certificates = await makeCertificates(folder);
  const standby = new FakeControlServer(certificates, {
    intercept: (_request, response) => {
      const says = setInterval(() => response.writeProcessing(), 200);
      setTimeout(() => {
        clearInterval(says);
        response.writeHead(200).end('opened');
      }, 1_500);
      return true;
    },
  });
  const controlUrl = await standby.start();
  const trust = new Trust({ caFile: certificates.caFile, controlUrl });
  const http = new ControlHttp({ controlUrl, timeoutMs: 1_000, openingTimeoutMs: 1_000 }, trust);
  const request = { method: 'GET', path: '/v1/work', bearer: 'token' } as const;
  const chunks = await http.open(request, NEVER);
  let text = '';
  for await (const chunk of chunks) text += Buffer.from(chunk).toString();
  expect(text).toBe('opened');
  expect(standby.requests).toEqual(['GET /v1/work']);
  trust.close();
  await standby.stop();
});
