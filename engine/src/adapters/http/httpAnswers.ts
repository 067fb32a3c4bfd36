import type { IncomingMessage, ServerResponse } from 'node:http';

/** Says in words why there is nothing else. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  message: string,
): void {
  // What else the client sends is not read: the connection ends with the answer.
  if (request.method !== 'GET') response.setHeader('connection', 'close');
  response.statusCode = status;
  response.setHeader('content-type', 'text/plain');
  response.end(`${message}\n`);
}

/** Of a body of so many bytes, which is to follow. */
export function writeHead(
  response: ServerResponse,
  status: number,
  bytes: number,
  headers: Readonly<Record<string, string>>,
): void {
  response.writeHead(status, {
    'content-type': 'application/octet-stream',
    'content-length': String(bytes),
    'accept-ranges': 'bytes',
    ...headers,
  });
  // Out before the first byte of the piece is there, so that the client knows which it will be.
  response.flushHeaders();
}

/** Writes the head for one range or all of it; undefined when it was refused. */
export function startAnswer(
  request: IncomingMessage,
  response: ServerResponse,
  sizeBytes: number,
): { start: number; end: number } | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(request.headers.range ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) {
    writeHead(response, 200, sizeBytes, {});
    return { start: 0, end: sizeBytes };
  }
  const [, first = '', last = ''] = match;
  const start = first === '' ? Math.max(0, sizeBytes - Number(last)) : Number(first);
  const end = first === '' || last === '' ? sizeBytes : Math.min(sizeBytes, Number(last) + 1);
  if (start >= end) {
    response.writeHead(416, { 'content-range': `bytes */${sizeBytes}` });
    response.end();
    return undefined;
  }
  const contentRange = `bytes ${start}-${end - 1}/${sizeBytes}`;
  writeHead(response, 206, end - start, { 'content-range': contentRange });
  return { start, end };
}

/** Undefined: it is longer than that. */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
