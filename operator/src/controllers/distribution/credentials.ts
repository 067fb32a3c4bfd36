/** A user's Secret, as headers for the origin. What it holds is never part of a message. */
import type { SourceErrorCode } from '../../policies/failures.ts';

export class CredentialsError extends Error {
  readonly code: SourceErrorCode;

  constructor(code: SourceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'CredentialsError';
    this.code = code;
  }
}

const MAX_HEADERS = 32;
const MAX_HEADER_BYTES = 8 * 1024;
/** RFC 9110: a token, and a value without control characters. */
const HEADER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;
/** What the one who fetches decides itself. */
const RESERVED = new Set([
  'host',
  'range',
  'if-range',
  'if-match',
  'if-unmodified-since',
  'connection',
  'content-length',
  'transfer-encoding',
  'accept-encoding',
]);

/** `data` is that of the Secret, base64. Throws a CredentialsError. */
export function headersOf(
  name: string,
  data: Readonly<Record<string, string>>,
): Record<string, string> {
  const text = (key: string): string | undefined =>
    data[key] === undefined ? undefined : Buffer.from(data[key], 'base64').toString('utf8').trim();
  const headers = parseHeaders(name, text('headers') ?? '');
  const [token, username, password] = [text('token'), text('username'), text('password')];
  if (token !== undefined) {
    headers.authorization = `Bearer ${checked(name, 'token', token)}`;
  } else if (username !== undefined && password !== undefined) {
    headers.authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  }
  if (Object.keys(headers).length === 0) {
    throw invalid(name, 'has none of the keys token, username and password, headers; add one');
  }
  return headers;
}

function parseHeaders(name: string, text: string): Record<string, string> {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  if (lines.length > MAX_HEADERS)
    throw invalid(name, `has over ${MAX_HEADERS} headers; remove some`);
  const headers: Record<string, string> = {};
  for (const [index, line] of lines.entries()) {
    const match = line.length <= MAX_HEADER_BYTES ? HEADER.exec(line) : null;
    if (match === null) {
      throw invalid(
        name,
        `has in headers a line ${index + 1} that is not 'Name: value'; correct it`,
      );
    }
    const header = match[1]!.toLowerCase();
    if (RESERVED.has(header)) throw invalid(name, `sets the header ${header}; remove it`);
    headers[header] = match[2]!;
  }
  return headers;
}

function checked(name: string, key: string, value: string): string {
  if (!/^[\x21-\x7e]{1,8192}$/.test(value)) {
    throw invalid(
      name,
      `has a ${key} that cannot stand in a header; write printable ASCII without spaces, at most 8192 characters`,
    );
  }
  return value;
}

function invalid(name: string, what: string): CredentialsError {
  return new CredentialsError('SecretInvalid', `spec.source.secretRef: Secret '${name}' ${what}`);
}
