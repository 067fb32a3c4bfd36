/** The origin: nginx with one file and a log of what it wrote for each request, its own counter. */
import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../../e2e/cluster/run.ts';
import { type Host, onHost } from './links.ts';
import type { Processes } from './processes.ts';

export const FILE_NAME = 'file.bin';

export interface OriginFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

export interface Origin {
  readonly url: string;
  readonly host: Host;
  readonly file: OriginFile;
  /** Bytes that it wrote for requests that have ended, headers included. */
  sentBytes(): Promise<number>;
}

const START_TIMEOUT_MS = 10_000;
const CHUNK = 1024 * 1024;

export async function makeFile(file: string, sizeBytes: number): Promise<OriginFile> {
  const hash = createHash('sha256');
  const handle = await open(file, 'w');
  try {
    for (let at = 0; at < sizeBytes; at += CHUNK) {
      const chunk = randomBytes(Math.min(CHUNK, sizeBytes - at));
      hash.update(chunk);
      await handle.write(chunk);
    }
  } finally {
    await handle.close();
  }
  return { path: file, sizeBytes, sha256: hash.digest('hex') };
}

export async function startOrigin(
  host: Host,
  file: OriginFile,
  folder: string,
  processes: Processes,
): Promise<Origin> {
  const log = path.join(folder, 'origin-requests.log');
  const configuration = path.join(folder, 'origin.conf');
  await writeFile(log, '');
  const server = `
    log_format sent '$bytes_sent';
    server {
      listen 80 backlog=1024;
      access_log ${log} sent;
      location / { root ${path.dirname(file.path)}; }
    }`;
  await writeFile(configuration, nginxConfiguration(folder, 'origin', server));
  processes.start('origin', onHost(host, ['nginx', '-c', configuration]));
  const url = `http://${host.address}/${FILE_NAME}`;
  await untilAnswers(url, host);
  const before = await countBytes(log);
  return { url, host, file, sentBytes: async () => (await countBytes(log)) - before };
}

/** What every nginx here has in common; one worker, as one connection needs no more. */
export function nginxConfiguration(folder: string, name: string, http: string): string {
  const at = (file: string) => path.join(folder, `${name}-${file}`);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (each) => `${each}_temp_path ${at(each)};`,
  );
  return `daemon off; user root; worker_processes 1; pid ${at('pid')}; error_log ${at('error.log')};
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  ${temporary.join(' ')}
  ${http}
}
`;
}

/** Asked from the host itself: a request over its link would count. */
export async function untilAnswers(url: string, host: Host): Promise<void> {
  const [program = '', ...args] = onHost(host, ['curl', '-sfI', '-o', '/dev/null', url]);
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await run(program, args);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`nothing answers at ${url}`, { cause: error });
      await sleep(50);
    }
  }
}

async function countBytes(log: string): Promise<number> {
  const lines = (await readFile(log, 'utf8')).split('\n');
  return lines.reduce((sum, line) => sum + Number(line), 0);
}
