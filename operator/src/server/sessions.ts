/**
 * Session tokens: who a process is, signed with a key that all replicas share, so that each of them
 * can verify a session that another one began.
 */
import {
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto';
import type { ProcessInfo } from './work.ts';

export interface Session extends ProcessInfo {
  readonly pod: string;
  readonly podUid: string;
  /** See Caller; absent in sessions of releases before. */
  readonly nodeUid?: string | undefined;
  /** Of the control protocol. */
  readonly protocolVersion: number;
  /** Milliseconds since the Unix epoch. */
  readonly expiresAtMs: number;
}

export const SESSION_SECONDS = 900;
/** What Node.js wants: a name, and keys to encrypt and to sign with. */
const TICKET_KEYS_BYTES = 48;
const MAX_TOKEN_CHARS = 4096;

export function issueSession(session: Session, key: Buffer): string {
  const payload = Buffer.from(JSON.stringify(session)).toString('base64url');
  return `${payload}.${sign(payload, key).toString('base64url')}`;
}

/** Undefined: not ours, changed, or expired. */
export function verifySession(token: string, key: Buffer, nowMs: number): Session | undefined {
  if (token.length > MAX_TOKEN_CHARS) return undefined;
  const [payload = '', signature = ''] = token.split('.');
  const expected = sign(payload, key);
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const session = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Session;
  return session.expiresAtMs > nowMs ? session : undefined;
}

/**
 * Keys of TLS session tickets (RFC 8446, section 4.6.1): whoever was known to one replica resumes at
 * the next leader, which signs nothing and sends no certificate. Each connection still has keys of
 * its own (psk_dhe_ke).
 */
export function ticketKeysFrom(sessionKey: Buffer): Buffer {
  return Buffer.from(
    hkdfSync('sha256', sessionKey, '', 'sluice tls tickets v1', TICKET_KEYS_BYTES),
  );
}

/** Making one takes longer than a signature, and there are a thousand of those a second. */
const keys = new WeakMap<Buffer, KeyObject>();

function keyOf(bytes: Buffer): KeyObject {
  const known = keys.get(bytes) ?? createSecretKey(bytes);
  keys.set(bytes, known);
  return known;
}

function sign(payload: string, key: Buffer): Buffer {
  return createHmac('sha256', keyOf(key)).update('sluice session v1\0').update(payload).digest();
}
