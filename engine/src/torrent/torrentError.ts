export type TorrentErrorCode =
  /** Not what the BEPs say, or beyond the bounds. */
  | 'Malformed'
  /** Correct, maybe, but nothing that this engine can load. */
  | 'Unsupported'
  /** The version 1 and version 2 halves, or hashes of one half, do not tell the same. */
  | 'Inconsistent';

/** A torrent is refused. The message names the field and what is wrong with its value. */
export class TorrentError extends Error {
  readonly code: TorrentErrorCode;
  /** As a path from the top: `info.files[3].length`. */
  readonly field: string;

  constructor(code: TorrentErrorCode, field: string, problem: string) {
    super(`${field}: ${problem}`);
    this.name = 'TorrentError';
    this.code = code;
    this.field = field;
  }
}
