/** X.509 by a library; keys are P-256, which every client speaks. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { type Authority, CA_DAYS, CERTIFICATE_DAYS } from './authority.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 24 * 3600 * 1000;
/** Clocks of nodes may be behind. */
const BACKDATED_MS = 3600 * 1000;

x509.cryptoProvider.set(webcrypto);

export async function makeAuthority(nowMs: number): Promise<Authority> {
  const keys = await newKeys();
  const notBefore = new Date(nowMs - BACKDATED_MS);
  const notAfter = new Date(nowMs + CA_DAYS * DAY_MS);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=sluice control API ${serial()}`,
    notBefore,
    notAfter,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    key: await exportKey(keys.privateKey),
    certificate: certificate.toString('pem'),
    notBeforeMs: nowMs,
    notAfterMs: notAfter.getTime(),
  };
}

export interface ServerCertificate {
  readonly key: string;
  readonly certificate: string;
  /** Milliseconds since the Unix epoch. */
  readonly notAfterMs: number;
}

export async function makeServerCertificate(
  names: readonly string[],
  authority: Authority,
  nowMs: number,
): Promise<ServerCertificate> {
  const keys = await newKeys();
  const issuer = new x509.X509Certificate(authority.certificate);
  const notAfterMs = Math.min(nowMs + CERTIFICATE_DAYS * DAY_MS, authority.notAfterMs);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${names[0]}`,
    issuer: issuer.subject,
    notBefore: new Date(nowMs - BACKDATED_MS),
    notAfter: new Date(notAfterMs),
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.key),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: 'dns' as const, value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return {
    key: await exportKey(keys.privateKey),
    certificate: certificate.toString('pem'),
    notAfterMs,
  };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, [
    'sign',
    'verify',
  ]) as Promise<webcrypto.CryptoKeyPair>;
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = x509.PemConverter.decode(pem);
  if (der === undefined) throw new Error('the CA in the Secret has no key');
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, [
    'sign',
  ]) as Promise<webcrypto.CryptoKey>;
}

function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  // Positive, as RFC 5280 wants it.
  bytes[0] = (bytes[0] as number) & 0x7f;
  return Buffer.from(bytes).toString('hex');
}
