/** Asks an origin what a file is, or the files of a set, without following where it points. */
import { MAX_PROBE_BYTES, probeOrigin } from '@sluice/engine/session/originProbe.ts';
import { fileUrlOf } from '@sluice/protocol/fileUrl.ts';
import type {
  EpochFile,
  OriginPolicy,
  ResolvedSource,
  SourceRequest,
} from '../controllers/dataSide.ts';
import { spanRefusal } from '../policies/originRefusal.ts';
import { fetchChecksums } from './checksumFetch.ts';
import { probeSet } from './setProbe.ts';
import { fileOf, type ProbeCharger, SourceAsker, SourceError } from './sourceAsking.ts';

/** Rejects with a SourceError, or when aborted. */
export async function resolveSource(
  request: SourceRequest,
  policies: readonly OriginPolicy[],
  charger: ProbeCharger,
  signal: AbortSignal,
): Promise<ResolvedSource> {
  const asker = new SourceAsker(request, policies, charger);
  const { url, filesFrom } = request;
  // Everything is asked for under the Origin that covers the folder.
  const judge = (paths: readonly string[]) => {
    const urls = paths.map((path) => fileUrlOf(url, path));
    const refusal = spanRefusal(url, urls, policies);
    if (refusal !== undefined) throw new SourceError('SpansOrigins', refusal.message);
  };
  if (filesFrom !== undefined) judge([filesFrom]);
  const named =
    filesFrom === undefined ? request.files : await fetchChecksums(asker, filesFrom, signal);
  if (named === undefined) return resolveFile(asker, signal);
  judge(named.map(({ path }) => path));
  const found = await probeSet(asker, named, signal);
  const files: EpochFile[] = found.map(({ ranges, ...file }) => file);
  return {
    sizeBytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    validator: {},
    // Of an empty file there is no range to be had.
    ranges: found.every(({ sizeBytes, ranges }) => sizeBytes === 0 || ranges),
    files,
  };
}

async function resolveFile(asker: SourceAsker, signal: AbortSignal): Promise<ResolvedSource> {
  const { url, headers } = asker;
  const probe = await asker.charge(MAX_PROBE_BYTES, signal, async (lease, http) => {
    const result = await probeOrigin(url, headers, http, AbortSignal.any([signal, lease]));
    return { result, usedBytes: result.usedBytes };
  });
  return fileOf(probe, url);
}
