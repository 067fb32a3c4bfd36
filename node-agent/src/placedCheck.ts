/**
 * Whether a placed version is still as it was placed. Files vanish, are changed by somebody with
 * root, or rot; the node would go on saying that it has them. Cheap by default: what the kernel
 * knows of each file, at an interval. Rarely, and slowly, every byte is hashed again.
 */
import { lstat, readlink } from 'node:fs/promises';
import path from 'node:path';
import type { Layout } from '@sluice/engine/pieces/layout.ts';
import type { Clock } from '@sluice/engine/ports/clock.ts';
import type { VersionPaths } from './versionPaths.ts';

export interface CheckSettings {
  /** Between two looks at what the kernel knows. */
  readonly lookMs: number;
  /** Between two times that every byte is hashed. */
  readonly rehashMs: number;
}

export interface PlacedCheckOptions extends CheckSettings {
  readonly layout: Layout;
  readonly paths: Pick<VersionPaths, 'versionFolder' | 'link'>;
  /** Something was wrong a moment ago: every byte is hashed soon. */
  readonly isSuspicious: boolean;
}

export interface PlacedCheckDependencies {
  /** See FileStore. */
  readonly store: {
    recheck(piece: number, signal: AbortSignal): Promise<boolean>;
    readonly ownChanges: Promise<void>;
  };
  readonly clock: Clock;
  /** 0 to 1: nodes hash at different times. */
  readonly random: () => number;
}

export interface Damage {
  readonly kind: 'changed' | 'rotten';
  readonly what: string;
}

/** A tenth of what a slow disk reads: pods that read the file do not notice. */
const REHASH_BYTES_PER_SECOND = 16 * 1024 * 1024;

/** Resolves with what is wrong, once something is; undefined: aborted. */
export async function placedDamage(
  options: PlacedCheckOptions,
  dependencies: PlacedCheckDependencies,
  signal: AbortSignal,
): Promise<Damage | undefined> {
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const checks = [
    lookAgain(options, dependencies, either),
    rehash(options, dependencies, either),
  ] as const;
  try {
    return await Promise.race(checks);
  } finally {
    over.abort();
    await Promise.allSettled(checks);
  }
}

async function lookAgain(
  { lookMs, layout, paths }: PlacedCheckOptions,
  { store, clock }: PlacedCheckDependencies,
  signal: AbortSignal,
): Promise<Damage | undefined> {
  for (;;) {
    await pause(clock, lookMs, signal);
    if (signal.aborted) return undefined;
    const what = await changeByOthers(layout, paths, store);
    if (signal.aborted) return undefined;
    if (what !== undefined) return { kind: 'changed', what };
  }
}

/** What was found while the store itself was changing something proves nothing: once more then. */
async function changeByOthers(
  layout: Layout,
  paths: PlacedCheckOptions['paths'],
  store: PlacedCheckDependencies['store'],
): Promise<string | undefined> {
  for (;;) {
    const { ownChanges } = store;
    await ownChanges;
    const what = await changeOf(layout, paths);
    if (what === undefined || store.ownChanges === ownChanges) return what;
  }
}

/** The store notes what it has written after it has written it: whatever is younger is not its. */
async function changeOf(
  layout: Layout,
  { versionFolder, link }: PlacedCheckOptions['paths'],
): Promise<string | undefined> {
  const noted = await factsOf(`${versionFolder}.state`);
  if (noted === undefined) return 'the record of the version is gone';
  for (const file of layout.files) {
    const facts = await factsOf(path.join(versionFolder, file.path));
    if (facts?.isFile() !== true) return `${file.path} is gone`;
    if (facts.size !== BigInt(file.sizeBytes)) return `${file.path} has another size`;
    if (facts.ctimeNs > noted.ctimeNs) return `${file.path} was changed`;
  }
  const to = await readlink(link).catch(() => undefined);
  const isShown = to !== undefined && path.resolve(path.dirname(link), to) === versionFolder;
  return isShown ? undefined : `${link} does not lead to the version`;
}

function factsOf(file: string) {
  return lstat(file, { bigint: true }).catch(() => undefined);
}

async function rehash(
  { rehashMs, layout, isSuspicious }: PlacedCheckOptions,
  { store, clock, random }: PlacedCheckDependencies,
  signal: AbortSignal,
): Promise<Damage | undefined> {
  for (let isDue = isSuspicious; ; isDue = false) {
    if (!isDue) await pause(clock, rehashMs * (0.5 + random() / 2), signal);
    for (let piece = 0; piece < layout.pieceCount; piece += 1) {
      if (signal.aborted) return undefined;
      const stands = await store.recheck(piece, signal);
      if (!stands) return { kind: 'rotten', what: `piece ${piece} is not as it was written` };
      const paceMs = (1000 * layout.pieceSizeBytes(piece)) / REHASH_BYTES_PER_SECOND;
      await pause(clock, paceMs, signal);
    }
    if (signal.aborted) return undefined;
  }
}

/** Also when aborted. */
function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = clock.setTimer(ms, done);
    function done() {
      timer.cancel();
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
  });
}
