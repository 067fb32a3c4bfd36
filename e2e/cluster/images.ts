/** Container images for the test cluster, kept in the cache under the hash of what is in them. */
import { createHash } from 'node:crypto';
import { cp, glob, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { baseImage } from './baseImage.ts';
import { writeBinaryImage } from './binaryImage.ts';
import { type BuildOptions, buildClusterBinaries, buildTools } from './build.ts';
import { buildImage, saveImage } from './buildah.ts';
import { PAUSE_IMAGE } from './node.ts';
import { cacheFolder, imagesFolder, removeUnused, repositoryRoot, touch } from './paths.ts';
import { Progress } from './progress.ts';

export interface Image {
  /** Fully qualified, with a tag that names the content. */
  readonly name: string;
  /** For `loadImage`, or `images` of `startCluster`. */
  readonly archive: string;
}

export interface SluiceImages {
  readonly operator: Image;
  readonly relay: Image;
  readonly agent: Image;
  /** FerretDB in place of MongoDB, which no package registry carries. */
  readonly mongodb: Image;
}

const FOLDERS = { operator: 'operator', relay: 'relay-image', agent: 'node-agent' } as const;

/** What .dockerignore lets into the context of every image. */
const CONTEXT = [
  ...['package.json', 'package-lock.json', '.npmrc', '.dockerignore', 'LICENSE'],
  ...['*/package.json', '{engine,protocol,operator,relay-image,node-agent}/src/**/*.ts'],
];

export async function pauseImage(): Promise<string> {
  const tools = await buildTools();
  const hash = path.basename(path.dirname(tools));
  await mkdir(imagesFolder(), { recursive: true });
  const archive = path.join(imagesFolder(), `pause-${hash}.tar`);
  if (await touch(archive)) return archive;
  await writeBinaryImage({
    name: PAUSE_IMAGE,
    binary: path.join(tools, 'pause'),
    args: [],
    archive,
  });
  return archive;
}

/** Builds what is missing: the products from their own Dockerfiles as the sources are now. */
export function sluiceImages(options: BuildOptions = {}): Promise<SluiceImages> {
  return imagesOf(async () => {}, options);
}

/** The same as the next minor release would have them: it speaks one more version of the protocol. */
export function nextMinorImages(options: BuildOptions = {}): Promise<SluiceImages> {
  return imagesOf(asNextMinor, options);
}

async function asNextMinor(context: string): Promise<void> {
  const file = path.join(context, 'protocol/src/versions.ts');
  const text = await readFile(file, 'utf8');
  const declared = /(PROTOCOL_VERSIONS: readonly number\[\] = )\[([\d, ]+)\]/;
  const versions = declared.exec(text)?.[2]?.split(',').map(Number);
  if (versions === undefined)
    throw new Error(`${file} does not declare PROTOCOL_VERSIONS as before`);
  const newest = Math.max(...versions);
  await writeFile(file, text.replace(declared, `$1[${newest}, ${newest + 1}]`));
}

/** `change`: of the sources, in a copy of them. */
async function imagesOf(
  change: (context: string) => Promise<void>,
  options: BuildOptions,
): Promise<SluiceImages> {
  const mongodb = await ferretImage(options);
  const context = await mkdtemp(path.join(tmpdir(), 'sluice-context-'));
  const progress = new Progress('images', options.log);
  try {
    await copyContext(context);
    await change(context);
    const built: Partial<Record<keyof typeof FOLDERS, Image>> = {};
    for (const [component, folder] of Object.entries(FOLDERS) as [keyof typeof FOLDERS, string][]) {
      progress.update(`${component}, ${Object.keys(built).length + 1} of 3`);
      built[component] = await productImage(component, folder, context, options.signal);
    }
    progress.done('ready');
    return { ...(built as Required<typeof built>), mongodb };
  } catch (error) {
    progress.stop();
    throw error;
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

async function productImage(
  component: string,
  folder: string,
  context: string,
  signal: AbortSignal | undefined,
): Promise<Image> {
  const dockerfile = path.join(repositoryRoot, folder, 'Dockerfile');
  const base = await baseImage(signal);
  const hash = createHash('sha256').update(JSON.stringify([await hashOf(context, folder), base]));
  const tag = hash
    .update(await readFile(dockerfile))
    .digest('hex')
    .slice(0, 12);
  const name = `localhost/sluice-${component}:${tag}`;
  const archive = path.join(imagesFolder(), `${component}-${tag}.tar`);
  if (await touch(archive)) return { name, archive };
  await removeUnused(imagesFolder());
  // npm keeps what it downloaded between builds, as it does on this machine.
  const npmCache = path.join(cacheFolder(), 'npm');
  await mkdir(npmCache, { recursive: true });
  await buildImage({
    name,
    context,
    dockerfile,
    buildArgs: { BASE: base },
    volumes: [`${npmCache}:${path.join(homedir(), '.npm')}`],
    signal,
  });
  await saveImage(name, archive, signal);
  return { name, archive };
}

async function ferretImage(options: BuildOptions): Promise<Image> {
  const bin = await buildClusterBinaries(options);
  const tag = path.basename(path.dirname(bin)).replace(/^cluster-/, '');
  const name = `localhost/sluice-test/ferretdb:${tag}`;
  const archive = path.join(imagesFolder(), `ferretdb-${tag}.tar`);
  if (!(await touch(archive))) {
    await mkdir(imagesFolder(), { recursive: true });
    const binary = path.join(bin, 'ferretdb');
    await writeBinaryImage({ name, binary, args: [], folders: ['data', 'tmp'], archive });
  }
  return { name, archive };
}

async function copyContext(into: string): Promise<void> {
  for await (const file of glob(CONTEXT, { cwd: repositoryRoot, exclude: isLeftOut })) {
    await cp(path.join(repositoryRoot, file), path.join(into, file));
  }
}

function isLeftOut(file: string): boolean {
  return file.includes('node_modules') || file.endsWith('.test.ts');
}

/** Of what goes into the image of one component: the sources of the others do not. */
async function hashOf(context: string, component: string): Promise<string> {
  const others = Object.values(FOLDERS).filter((folder) => folder !== component);
  const files: string[] = [];
  for await (const file of glob(['**/*.*', '.*', 'LICENSE'], { cwd: context })) {
    if (!others.some((folder) => file.startsWith(`${folder}/src/`))) files.push(file);
  }
  const hash = createHash('sha256');
  for (const file of files.sort()) {
    const content = await readFile(path.join(context, file)).catch(() => undefined);
    if (content !== undefined) hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}
