/*
 * torrent/ reads and writes torrents: BEP 3, BEP 47 and BEP 52. What it reads is untrusted.
 *
 * Bencoding to the byte. The `bencode` package does for messages; a torrent is named by a hash of
 * bytes in it, has keys that are no text and wants them in the order of their bytes, and the
 * package keeps neither of these.
 */
import { TorrentError } from './torrentError.ts';

/** A value with the bytes that it stands in. */
export type Bencoded =
  | { readonly kind: 'integer'; readonly value: number; readonly raw: Buffer }
  | { readonly kind: 'bytes'; readonly value: Buffer; readonly raw: Buffer }
  | { readonly kind: 'list'; readonly items: readonly Bencoded[]; readonly raw: Buffer }
  | BencodedDictionary;

export interface BencodedDictionary {
  readonly kind: 'dictionary';
  /** By key, each byte of it as one character (latin1). */
  readonly entries: ReadonlyMap<string, Bencoded>;
  readonly raw: Buffer;
}

/** A file tree is as deep as its paths. */
const MAX_DEPTH = 64;
const MAX_VALUES = 250_000;
const COLON = 0x3a;
const END = 0x65;

/** Throws a TorrentError for anything but one whole value. Strings are views of `bytes`. */
export function decodeBencoded(bytes: Uint8Array): Bencoded {
  const reader = new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  return reader.whole();
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  #values = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  whole(): Bencoded {
    const value = this.#value(0);
    if (this.#at < this.#bytes.length) throw this.#malformed('something follows the end');
    return value;
  }

  #value(depth: number): Bencoded {
    this.#values += 1;
    if (depth > MAX_DEPTH) throw this.#malformed(`nested deeper than ${MAX_DEPTH}`);
    if (this.#values > MAX_VALUES) throw this.#malformed(`more than ${MAX_VALUES} values`);
    const start = this.#at;
    switch (String.fromCharCode(this.#bytes[start] ?? 0)) {
      case 'i': {
        this.#at += 1;
        const value = this.#number(END, /^(0|-?[1-9]\d{0,15})$/);
        return { kind: 'integer', value, raw: this.#from(start) };
      }
      case 'l': {
        const items: Bencoded[] = [];
        this.#at += 1;
        while (!this.#ends()) items.push(this.#value(depth + 1));
        return { kind: 'list', items, raw: this.#from(start) };
      }
      case 'd': {
        const entries = new Map<string, Bencoded>();
        this.#at += 1;
        while (!this.#ends()) {
          const key = this.#string().toString('latin1');
          if (entries.has(key)) throw this.#malformed(`the key ${JSON.stringify(key)} twice`);
          entries.set(key, this.#value(depth + 1));
        }
        return { kind: 'dictionary', entries, raw: this.#from(start) };
      }
      default:
        return { kind: 'bytes', value: this.#string(), raw: this.#from(start) };
    }
  }

  #string(): Buffer {
    const length = this.#number(COLON, /^(0|[1-9]\d{0,9})$/);
    if (this.#at + length > this.#bytes.length) throw this.#malformed('a string is cut off');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  #number(until: number, form: RegExp): number {
    // 17 characters hold every number that is exact.
    const end = this.#bytes.subarray(0, this.#at + 18).indexOf(until, this.#at);
    const text = end < 0 ? '' : this.#bytes.toString('latin1', this.#at, end);
    const value = Number(text);
    if (!form.test(text) || !Number.isSafeInteger(value)) throw this.#malformed('no number');
    this.#at = end + 1;
    return value;
  }

  #ends(): boolean {
    if (this.#bytes[this.#at] !== END) return false;
    this.#at += 1;
    return true;
  }

  #from(start: number): Buffer {
    return this.#bytes.subarray(start, this.#at);
  }

  #malformed(what: string): TorrentError {
    return new TorrentError('Malformed', 'torrent', `${what}, at byte ${this.#at}`);
  }
}

export function encodeBytes(value: string | Uint8Array): Buffer {
  const raw = Buffer.from(value);
  return Buffer.concat([Buffer.from(`${raw.length}:`), raw]);
}

export function encodeInteger(value: number): Buffer {
  return Buffer.from(`i${value}e`);
}

export function encodeList(items: readonly Buffer[]): Buffer {
  return Buffer.concat([Buffer.from('l'), ...items, Buffer.from('e')]);
}

/** In the order of the keys' bytes (BEP 3). */
export function encodeDictionary(entries: readonly (readonly [string | Buffer, Buffer])[]): Buffer {
  const raw = entries.map(([key, value]) => [Buffer.from(key), value] as const);
  raw.sort(([a], [b]) => Buffer.compare(a, b));
  const items = raw.flatMap(([key, value]) => [encodeBytes(key), value]);
  return Buffer.concat([Buffer.from('d'), ...items, Buffer.from('e')]);
}
