import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { ControlHttp } from './controlHttp.ts';
import { makeCertificates, type TestCertificates } from './testing/certificates.ts';
import { FakeControlServer } from './testing/fakeControlServer.ts';
import { Trust } from './trust.ts';

const NEVER = new AbortController().signal;
const REQUEST = { method: 'GET', path: '/v1/work', bearer: 'token' } as const;

let folder: string;
let certificates: TestCertificates;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'sluice-http-'));
  certificates = await makeCertificates(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function httpTo(controlUrl: URL): ControlHttp {
  const trust = new Trust({
    caFile: certificates.caFile,
    controlUrl,
    handshakeTimeoutMs: 5_000,
  });
  onTestFinished(() => trust.close());
  return new ControlHttp({ controlUrl, timeoutMs: 1_000, openingTimeoutMs: 1_000 }, trust);
}

it('waits at a standby that says that it holds it, for longer than for an answer', async () => {
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
  onTestFinished(() => standby.stop());
  const chunks = await httpTo(controlUrl).open(REQUEST, NEVER);
  let text = '';
  for await (const chunk of chunks) text += Buffer.from(chunk).toString();
  expect(text).toBe('opened');
  expect(standby.requests).toEqual(['GET /v1/work']);
});

it('does not wait for a handshake when it is not to any more', async () => {
  const came: Socket[] = [];
  const server = createServer((socket) => came.push(socket.on('error', () => {})));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of came) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const http = httpTo(new URL(`https://localhost:${port}`));
  const abort = new AbortController();
  const opened = http.open(REQUEST, abort.signal);
  server.once('connection', () => abort.abort());
  await expect(opened).rejects.toMatchObject({ code: 'Aborted' });
  await expect(http.call(REQUEST, String, NEVER)).rejects.toMatchObject({ code: 'TimedOut' });
}, 5_000);
