import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface TestCertificates {
  readonly caFile: string;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A CA of its own in `folder` and a certificate for localhost, made by openssl. */
export async function makeCertificates(folder: string, name = 'ca'): Promise<TestCertificates> {
  const at = (file: string) => path.join(folder, `${name}-${file}`);
  const openssl = (...args: string[]) => run('openssl', args, { timeout: 20_000 });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl(
    ...['req', '-x509', ...ec, '-keyout', at('ca.key'), '-out', at('ca.crt')],
    ...['-subj', `/CN=sluice ${name}`, '-days', '1'],
  );
  await openssl(
    ...['req', ...ec, '-keyout', at('tls.key'), '-out', at('tls.csr'), '-subj', '/CN=localhost'],
  );
  await writeFile(at('ext'), 'subjectAltName=DNS:localhost\n');
  await openssl(
    ...['x509', '-req', '-in', at('tls.csr'), '-CA', at('ca.crt'), '-CAkey', at('ca.key')],
    ...['-CAcreateserial', '-out', at('tls.crt'), '-days', '1', '-extfile', at('ext')],
  );
  const [ca, cert, key] = await Promise.all(
    ['ca.crt', 'tls.crt', 'tls.key'].map((file) => readFile(at(file), 'utf8')),
  );
  return { caFile: at('ca.crt'), ca: ca!, cert: cert!, key: key! };
}
