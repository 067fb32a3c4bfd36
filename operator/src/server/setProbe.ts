/** Asks an origin for the length and the validator of every file of a set. */
import { type HttpSource, HttpSourceError } from '@sluice/engine/ports/httpSource.ts';
import {
  MAX_PROBE_BYTES,
  type ProbeResult,
  probeOver,
} from '@sluice/engine/session/originProbe.ts';
import { fileUrlOf } from '@sluice/protocol/fileUrl.ts';
import type { EpochFile, NamedFile } from '../controllers/dataSide.ts';
import { type Asker, type FoundFile, fileOf, SourceError } from './sourceAsking.ts';

/** Answers of some hundred bytes each, with room for one that is the whole file. */
const LEASE_BYTES = MAX_PROBE_BYTES + 262_144;
/** What is begun later may not end while the lease lives (8 s). */
const LEASE_MS = 4_000;
/** A connection to so many files; one that finds no room is done without. */
const FILES_A_CONNECTION = 32;
const MAX_CONNECTIONS = 4;

type ProbedFile = EpochFile & Pick<FoundFile, 'ranges'>;

interface Probing {
  readonly asker: Asker;
  readonly left: NamedFile[];
  readonly found: Map<string, ProbedFile>;
  readonly signal: AbortSignal;
}

/** In the order of `named`. Rejects with a SourceError for the first file that is not right. */
export async function probeSet(
  asker: Asker,
  named: readonly NamedFile[],
  signal: AbortSignal,
): Promise<ProbedFile[]> {
  const failed = new AbortController();
  const drained = new AbortController();
  const probing: Probing = {
    asker,
    left: [...named],
    found: new Map(),
    signal: AbortSignal.any([signal, failed.signal]),
  };
  const connections = Math.min(MAX_CONNECTIONS, Math.ceil(named.length / FILES_A_CONNECTION));
  const work = async () => {
    try {
      await probeWhileLeft(probing, drained.signal);
    } catch (error) {
      // The others were quick enough: there is nothing to wait for room for.
      if (drained.signal.aborted && !probing.signal.aborted) return;
      failed.abort(error);
      throw error;
    } finally {
      if (probing.left.length === 0) drained.abort(new Error('every file was asked for'));
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: connections }, work));
  signal.throwIfAborted();
  if (failed.signal.aborted) throw failed.signal.reason;
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return named.map(({ path }) => probing.found.get(path) as ProbedFile);
}

async function probeWhileLeft(probing: Probing, drained: AbortSignal): Promise<void> {
  const { asker, left, signal } = probing;
  while (left.length > 0) {
    await asker.charge(LEASE_BYTES, AbortSignal.any([signal, drained]), (lease, http) =>
      probeUnderLease(probing, http, AbortSignal.any([signal, lease])),
    );
  }
}

async function probeUnderLease(
  { asker, left, found }: Probing,
  http: HttpSource,
  signal: AbortSignal,
): Promise<{ result: undefined; usedBytes: number }> {
  const connection = http.connection(new URL(asker.url));
  const endsAtMs = performance.now() + LEASE_MS;
  let usedBytes = 0;
  try {
    while (performance.now() < endsAtMs && usedBytes + MAX_PROBE_BYTES <= LEASE_BYTES) {
      const file = left.shift();
      if (file === undefined) break;
      const url = fileUrlOf(asker.url, file.path);
      let probe = await probeOver(connection, url, asker.headers, signal);
      usedBytes += probe.usedBytes;
      if (isStale(probe)) {
        probe = await probeOver(connection, url, asker.headers, signal);
        usedBytes += probe.usedBytes;
      }
      found.set(file.path, checked(file, fileOf(probe, asker.url, file.path)));
    }
  } finally {
    await connection.close();
  }
  return { result: undefined, usedBytes };
}

/** The server had ended the kept connection before it was asked again: it wrote nothing for us. */
function isStale(probe: ProbeResult): boolean {
  if (probe.kind !== 'failed') return false;
  const { cause } = probe.error;
  return cause instanceof HttpSourceError && cause.stale;
}

function checked({ path, sha256, sizeBytes }: NamedFile, file: FoundFile): ProbedFile {
  if (sizeBytes !== undefined && sizeBytes !== file.sizeBytes) {
    const message = `spec.source.files[].sizeBytes: '${path}' has ${file.sizeBytes} bytes at the origin, not ${sizeBytes}; correct one of them`;
    throw new SourceError('InvalidFiles', message);
  }
  return { path, ...(sha256 !== undefined && { sha256 }), ...file };
}
