/**
 * The origin: nginx with files to give away, and in front of it the meter, which says from the
 * socket's side what was given away and misbehaves on request. It knows nothing of Sluice, and
 * runs on a host of the test cluster (see ../cluster) or on the loopback interface.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { mkdir, open, rename, rm, utimes } from 'node:fs/promises';
import { request } from 'node:http';
import path from 'node:path';
import type { LinkRate } from '../cluster/network.ts';

export interface OriginFile {
  readonly name: string;
  readonly url: string;
  readonly sizeBytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** The same seed and size give the same bytes. */
export interface GeneratedContent {
  readonly sizeBytes: number;
  readonly seed: number | string;
}

/** How requests under a path prefix are mistreated; all that is left out is as it should be. */
export interface Behaviour {
  /** Ignores Range: always 200 and the whole body, without Accept-Ranges. */
  readonly noRanges?: boolean;
  /** Answers one request with each status, then passes through. */
  readonly statusSequence?: readonly number[];
  /** Before the first byte of each answer. */
  readonly delayMs?: number;
  /** Sends so much of a body and then nothing, with the connection left open. */
  readonly stallAfterBytes?: number;
  /** Sends so much of a body and then closes the connection. */
  readonly truncateAfterBytes?: number;
  /** Flips the bits of the byte at this offset of the file. */
  readonly corruptAtByte?: number;
  /** With its quotes; If-Match and If-Range are judged against it. */
  readonly etag?: string;
  /** Leaves ETag and Last-Modified out. */
  readonly omitValidators?: boolean;
  /** At each multiple of the first nothing is written for the second; then all at once. */
  readonly stallEveryMs?: number;
  readonly stallForMs?: number;
  /** Resets the connection when a request arrives. */
  readonly cutConnections?: boolean;
}

/** Times are Unix milliseconds on the meter's clock, which never goes back. */
export interface MeteredRequest {
  readonly id: number;
  readonly connection: number;
  readonly client: string;
  readonly timeMs: number;
  readonly method: string;
  readonly path: string;
  readonly range?: string;
  readonly ifMatch?: string;
  readonly ifRange?: string;
  readonly ifUnmodifiedSince?: string;
  /** 0: not answered (yet). */
  readonly status: number;
  readonly etag?: string;
  readonly lastModified?: string;
  readonly contentRange?: string;
  readonly firstByteMs?: number;
  readonly endMs?: number;
  /** Written to the client's socket, headers included. */
  readonly bytes: number;
  /** All that was promised was written. */
  readonly complete: boolean;
}

/** From its accept until both ends are closed. */
export interface MeteredConnection {
  readonly id: number;
  readonly client: string;
  readonly openMs: number;
  readonly closeMs?: number;
  readonly bytes: number;
}

export interface MeterStats {
  readonly nowMs: number;
  readonly requests: readonly MeteredRequest[];
  readonly connections: {
    readonly open: number;
    readonly peak: number;
    readonly total: number;
    readonly list: readonly MeteredConnection[];
  };
  readonly bytesTotal: number;
  /** The most in any 1,000 consecutive milliseconds. */
  readonly maxOneSecondWindowBytes: number;
  /** [millisecond, bytes] of each millisecond in which something was written. */
  readonly perMillisecond: readonly (readonly [number, number])[];
}

export interface OriginOptions {
  /** Without a slash at the end. */
  readonly url: string;
  readonly address: string;
  /** What nginx serves. */
  readonly filesFolder: string;
  /** The meter's control socket. */
  readonly controlSocket: string;
  /** Undefined where the origin has no link of its own. */
  readonly setLinkRate?: (rate: LinkRate) => Promise<void>;
  readonly stop?: () => Promise<void>;
}

const CONTROL_TIMEOUT_MS = 10_000;
const CHUNK_BYTES = 1 << 20;

export class OriginHost {
  readonly url: string;
  readonly address: string;
  private readonly options: OriginOptions;
  private writes = 0;

  constructor(options: OriginOptions) {
    this.options = options;
    this.url = options.url;
    this.address = options.address;
  }

  /** A file of pseudo-random bytes, about 1 GB a second; replaces one of that name at once. */
  async putFile(name: string, content: GeneratedContent): Promise<OriginFile> {
    const key = createHash('sha256').update(`sluice ${content.seed}`).digest().subarray(0, 16);
    const stream = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));
    const zeros = Buffer.alloc(CHUNK_BYTES);
    return this.store(name, content.sizeBytes, (_, count) => {
      return stream.update(count === CHUNK_BYTES ? zeros : zeros.subarray(0, count));
    });
  }

  /** Takes no time and no space, whatever its size. Its digest is not known. */
  async putZeros(name: string, sizeBytes: number): Promise<Omit<OriginFile, 'sha256'>> {
    const handle = await open(this.file(name), 'w');
    await handle.truncate(sizeBytes).finally(() => handle.close());
    return { name, url: `${this.url}/${name}`, sizeBytes };
  }

  async writeFile(name: string, content: Buffer | string): Promise<OriginFile> {
    const bytes = Buffer.from(content);
    return this.store(name, bytes.length, (at, count) => bytes.subarray(at, at + count));
  }

  /** Other bytes under the same name, with another validator. Answers that run go on as they are. */
  changeFile(name: string, content: GeneratedContent): Promise<OriginFile> {
    return this.putFile(name, content);
  }

  async remove(name: string): Promise<void> {
    await rm(this.file(name), { recursive: true, force: true });
  }

  async stats(): Promise<MeterStats> {
    return (await this.control('GET', '/stats')) as MeterStats;
  }

  /** Forgets all that was recorded; connections that are open still count. */
  async reset(): Promise<void> {
    await this.control('POST', '/reset');
  }

  /** Sets, or with undefined clears, how paths under a prefix (`/name`) are mistreated. */
  async behave(prefix: string, behaviour: Behaviour | undefined): Promise<void> {
    await this.control('POST', '/behave', { prefix, behaviour: behaviour ?? null });
  }

  /** Resets connections over which nothing moves for so long, as servers do; undefined: none. */
  async closeIdleAfter(timeoutMs: number | undefined): Promise<void> {
    await this.control('POST', '/idle', { timeoutMs: timeoutMs ?? 0 });
  }

  /** Resets every connection that is open now; returns how many those were. */
  async cutConnections(): Promise<number> {
    return ((await this.control('POST', '/cut')) as { cut: number }).cut;
  }

  /** Both directions of the host's link; up is what it gives away. */
  async setLinkRate(rate: LinkRate): Promise<void> {
    if (!this.options.setLinkRate) throw new Error('this origin has no link of its own to shape');
    await this.options.setLinkRate(rate);
  }

  /** Ends one that was started by itself; in a cluster it ends with the cluster. */
  async stop(): Promise<void> {
    await this.options.stop?.();
  }

  private file(name: string): string {
    const file = path.join(this.options.filesFolder, name);
    if (!file.startsWith(`${this.options.filesFolder}/`)) {
      throw new Error(`${name} leads out of the origin's folder`);
    }
    return file;
  }

  private async store(
    name: string,
    sizeBytes: number,
    bytesAt: (at: number, count: number) => Buffer,
  ): Promise<OriginFile> {
    const file = this.file(name);
    await mkdir(path.dirname(file), { recursive: true });
    this.writes += 1;
    const unfinished = `${file}.unfinished-${this.writes}`;
    const hash = createHash('sha256');
    const handle = await open(unfinished, 'w');
    try {
      for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
        const bytes = bytesAt(at, Math.min(CHUNK_BYTES, sizeBytes - at));
        hash.update(bytes);
        await handle.writeFile(bytes);
      }
    } finally {
      await handle.close();
    }
    // nginx makes validators of the size and the second of the last change: each write gets one.
    const modified = Math.floor(Date.now() / 1000) - 86_400 + this.writes;
    await utimes(unfinished, modified, modified);
    await rename(unfinished, file);
    return { name, url: `${this.url}/${name}`, sizeBytes, sha256: hash.digest('hex') };
  }

  private control(method: string, route: string, body?: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const call = request(
        {
          socketPath: this.options.controlSocket,
          method,
          path: route,
          agent: false,
          timeout: CONTROL_TIMEOUT_MS,
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            const text = Buffer.concat(chunks).toString('utf8');
            if (response.statusCode === 200) resolve(JSON.parse(text));
            else reject(new Error(`meter: ${method} ${route}: ${response.statusCode} ${text}`));
          });
        },
      );
      call.on('timeout', () => call.destroy(new Error(`meter: ${route} is not answered`)));
      call.on('error', reject);
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}

/** nginx as a plain file server; it logs to its standard error and keeps nothing elsewhere. */
export function nginxConfig(options: {
  listen: string;
  filesFolder: string;
  scratchFolder: string;
}): string {
  const { scratchFolder } = options;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${scratchFolder}/${name};`,
  );
  return `user root;
worker_processes 1;
daemon off;
error_log stderr crit;
pid ${scratchFolder}/nginx.pid;
events { worker_connections 4096; }
http {
  ${temporary.join('\n  ')}
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  keepalive_timeout 300s;
  keepalive_requests 1000000;
  server {
    listen ${options.listen} backlog=1024;
    root ${options.filesFolder};
    location / { }
  }
}
`;
}
