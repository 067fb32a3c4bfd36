/**
 * Which versions may give their bytes to an epoch of another Distribution, and which of its pieces.
 *
 * Who names a digest does not thereby know the bytes. In one namespace they are shared all the same:
 * whoever uses it can read both. Between namespaces they are shared only where the epoch's own
 * source said of the same URL, asked with the epoch's own credentials, what the donor's said: the
 * same length and the same strong validator. Another URL proves nothing, for whoever has a server
 * of his own can let it say anything.
 */
import { fileUrlOf } from '@sluice/protocol/fileUrl.ts';
import type { Extent } from '@sluice/protocol/leaseMessages.ts';
import type { EpochFile, EpochRecord } from '../controllers/dataSide.ts';

export interface Gift {
  /** Pieces of the epoch, in order. */
  readonly extents: readonly Extent[];
  readonly sizeBytes: number;
  /** The donor's pieces are cut otherwise: it is read through before anything of it counts. */
  readonly isReadThrough: boolean;
}

/** Undefined: nothing, or it may not. */
export function giftOf(donor: EpochRecord, epoch: EpochRecord): Gift | undefined {
  const byDigest = Map.groupBy(donor.files, ({ sha256 }) => sha256);
  const extents: { first: number; count: number }[] = [];
  let sizeBytes = 0;
  let first = 0;
  for (const file of epoch.files) {
    const count = Math.ceil(file.sizeBytes / epoch.pieceLengthBytes);
    const same = file.sha256 === undefined ? [] : (byDigest.get(file.sha256) ?? []);
    if (count > 0 && same.length > 0) {
      // A node looks into the whole version: one file that is not to be given keeps all of it back.
      if (!same.some((other) => mayHave(donor, other, epoch, file))) return undefined;
      const last = extents.at(-1);
      if (last !== undefined && last.first + last.count === first) last.count += count;
      else extents.push({ first, count });
      sizeBytes += file.sizeBytes;
    }
    first += count;
  }
  if (extents.length === 0) return undefined;
  return { extents, sizeBytes, isReadThrough: donor.pieceLengthBytes !== epoch.pieceLengthBytes };
}

function mayHave(
  donor: EpochRecord,
  given: EpochFile,
  epoch: EpochRecord,
  file: EpochFile,
): boolean {
  if (given.sizeBytes !== file.sizeBytes) return false;
  if (donor.namespace === epoch.namespace) return true;
  // It was adopted, and nobody has asked its source since with the credentials of now.
  if (epoch.unproven === true) return false;
  const etag = strongEtagOf(epoch, file);
  return (
    etag !== undefined &&
    etag === strongEtagOf(donor, given) &&
    urlOf(epoch, file) === urlOf(donor, given)
  );
}

function strongEtagOf({ source }: EpochRecord, { validator = source.validator }: EpochFile) {
  const { etag } = validator;
  return etag?.startsWith('"') === true ? etag : undefined;
}

function urlOf({ url }: EpochRecord, { path }: EpochFile): string {
  return new URL(fileUrlOf(url, path)).href;
}
