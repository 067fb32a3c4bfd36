/**
 * A base image with Node 24 and npm for the real Dockerfiles, made from Debian packages and the
 * npm package `node`, because no image can be pulled. What this machine's npm needs to reach its
 * registry (settings, certificates) goes into this image only, never into a Dockerfile.
 */
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buildImage, hasImage } from './buildah.ts';
import { repositoryRoot } from './paths.ts';
import { run } from './run.ts';

const PACKAGES = ['base-files', 'libc6', 'libstdc++6', 'dash', 'coreutils'];
const SUITE = 'bookworm';
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';
const BOOTSTRAP_TIMEOUT_MS = 10 * 60_000;

const DOCKERFILE = `FROM scratch
ADD root.tar /
COPY node /usr/local/bin/node
COPY npm /usr/local/lib/node_modules/npm
COPY npmrc /usr/local/etc/npmrc
COPY etc /etc
ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}
RUN ["/bin/dash", "-c", "ln -sf dash /bin/sh && mkdir -p /root /tmp && chmod 1777 /tmp && ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm"]
`;

/** The base image's name; built when it is not there. */
export async function baseImage(signal: AbortSignal | undefined): Promise<string> {
  const npmrc = await npmSettings();
  const hash = createHash('sha256').update(JSON.stringify([PACKAGES, SUITE, DOCKERFILE, npmrc]));
  hash.update(await readFile(CERTIFICATES));
  hash.update(await readFile(nodeBinary('package.json')));
  const name = `localhost/sluice-test/node:${hash.digest('hex').slice(0, 12)}`;
  if (await hasImage(name)) return name;
  const context = await mkdtemp(path.join(tmpdir(), 'sluice-base-'));
  try {
    await bootstrap(path.join(context, 'root.tar'), signal);
    await cp(nodeBinary('bin/node'), path.join(context, 'node'));
    const modules = await npm('root', '--global');
    await cp(path.join(modules, 'npm'), path.join(context, 'npm'), { recursive: true });
    await writeFile(path.join(context, 'npmrc'), npmrc);
    const etc = path.join(context, 'etc');
    await mkdir(path.join(etc, 'ssl/certs'), { recursive: true });
    await cp(CERTIFICATES, path.join(context, CERTIFICATES), { dereference: true });
    await writeFile(path.join(etc, 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    await writeFile(path.join(etc, 'group'), 'root:x:0:\n');
    await writeFile(path.join(context, 'Dockerfile'), DOCKERFILE);
    await buildImage({ name, context, dockerfile: path.join(context, 'Dockerfile'), signal });
    return name;
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

/** Only unpacked, not configured: nothing of Debian runs in the image but libraries and a shell. */
async function bootstrap(archive: string, signal: AbortSignal | undefined): Promise<void> {
  const args = ['--variant=extract', `--include=${PACKAGES.join(',')}`];
  // Elsewhere than on this Debian release the host's own sources would not fit.
  const codename = /^VERSION_CODENAME=(\w+)/m.exec(await readFile('/etc/os-release', 'utf8'));
  const suite = codename?.[1] ?? SUITE;
  await run('mmdebstrap', [...args, suite, archive], { signal, timeoutMs: BOOTSTRAP_TIMEOUT_MS });
}

function nodeBinary(file: string): string {
  return path.join(repositoryRoot, 'node_modules/node', file);
}

/**
 * This machine's npm, with its own Node and without what a calling npm or npx has set: both would
 * make it look elsewhere.
 */
async function npm(...args: string[]): Promise<string> {
  const folders = (process.env.PATH ?? '').split(':');
  const PATH = folders.filter((folder) => !folder.includes('node_modules')).join(':');
  const inherited = Object.keys(process.env).filter((name) => /^npm_/i.test(name));
  const unset = inherited.flatMap((name) => ['-u', name]);
  return (await run('env', [...unset, 'npm', ...args, '--silent'], { env: { PATH } })).trim();
}

/** What the global and the user's npmrc say of registries and how to reach them. */
async function npmSettings(): Promise<string> {
  const wanted =
    /^(registry|cafile|ca|strict-ssl|proxy|https-proxy|noproxy|@[^=]+:registry|\/\/.*)\s*=/;
  const lines = new Set<string>();
  for (const kind of ['globalconfig', 'userconfig']) {
    const file = await npm('config', 'get', kind);
    const text = await readFile(file, 'utf8').catch(() => '');
    for (const line of text.split('\n')) if (wanted.test(line.trim())) lines.add(line.trim());
  }
  // Another file of certificates than the one that goes along is not in the image.
  return [...lines]
    .map((line) => line.replace(/^cafile\s*=.*/, `cafile=${CERTIFICATES}`))
    .join('\n');
}
