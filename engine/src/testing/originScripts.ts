/** What an origin may say, right or wrong. */
import { CHUNK_BYTES, type RawRequest, type Script } from './rawOrigin.ts';

/** An honest head, with other headers in the place of its own; undefined leaves one out. */
export function headOf(
  { start, end, headers: asked }: RawRequest,
  body: Buffer,
  changes: Readonly<Record<string, string | undefined>> = {},
  status = asked.range === undefined ? '200 OK' : '206 Partial Content',
): string {
  const range = { 'Content-Range': `bytes ${start}-${end - 1}/${body.length}` };
  const headers: Record<string, string | undefined> = {
    'Content-Length': String(end - start),
    ...(asked.range !== undefined && range),
    ETag: '"one"',
    ...changes,
  };
  const lines = Object.entries(headers)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status}\r\n${lines.join('')}\r\n`;
}

/** The answer as it should be. */
export const honest: Script = async (request, wire, body) => {
  await wire.send(headOf(request, body));
  await wire.send(body.subarray(request.start, request.end));
};

/** The same in chunks of so many bytes, each with its framing. */
export function chunked(
  chunkBytes: number,
  bytesOf: (request: RawRequest, body: Buffer) => Buffer = ({ start, end }, body) =>
    body.subarray(start, end),
): Script {
  return async (request, wire, body) => {
    const changes = { 'Content-Length': undefined, 'Transfer-Encoding': 'chunked' };
    await wire.send(headOf(request, body, changes));
    const bytes = bytesOf(request, body);
    const parts: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      const chunk = bytes.subarray(at, at + chunkBytes);
      parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'));
    }
    await wire.send(Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]));
  };
}

/** The head, and then bytes as long as anybody takes them. */
export function endless(head: (request: RawRequest, body: Buffer) => string, part: string): Script {
  return async (request, wire, body) => {
    await wire.send(head(request, body));
    const bytes = Buffer.from(part.repeat(Math.ceil(CHUNK_BYTES / part.length)));
    while (wire.isOpen) {
      await wire.send(bytes);
    }
  };
}

/** Only some of the answers are like that. */
export function sometimes(is: (count: number) => boolean, script: Script): Script {
  return (request, wire, body) => (is(request.count) ? script : honest)(request, wire, body);
}

/** The head as it should be but for these, and the bytes that were asked for. */
export function withHead(
  changes: Readonly<Record<string, string | undefined>>,
  status?: string,
): Script {
  return async (request, wire, body) => {
    await wire.send(headOf(request, body, changes, status));
    await wire.send(body.subarray(request.start, request.end));
  };
}

export function cutAt(share: number, how: 'end' | 'reset'): Script {
  return async (request, wire, body) => {
    const { start, end } = request;
    await wire.send(headOf(request, body));
    await wire.send(body.subarray(start, start + Math.ceil((end - start) * share)));
    wire[how]();
  };
}

export function answering(status: string, headers: Readonly<Record<string, string>> = {}): Script {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return (_, wire) =>
    wire.send(`HTTP/1.1 ${status}\r\nContent-Length: 3\r\n${lines.join('')}\r\nno\n`);
}

export const saying =
  (text: string): Script =>
  (_, wire) =>
    wire.send(text);

/** An answer before the answer, which promises nothing. */
export const EARLY_HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n';
