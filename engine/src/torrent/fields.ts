import type { Bencoded, BencodedDictionary } from './bencoding.ts';
import { TorrentError, type TorrentErrorCode } from './torrentError.ts';

/** A value of a torrent and where it stands, so that whoever refuses it can say so. */
export class Field {
  readonly name: string;
  readonly #value: Bencoded | undefined;

  constructor(name: string, value: Bencoded | undefined) {
    this.name = name;
    this.#value = value;
  }

  get isThere(): boolean {
    return this.#value !== undefined;
  }

  get raw(): Buffer {
    return this.#expect('something').raw;
  }

  /** Of a dictionary. */
  at(key: string): Field {
    return new Field(`${this.name}.${key}`, this.dictionary().get(key));
  }

  dictionary(): BencodedDictionary['entries'] {
    const value = this.#expect('a dictionary');
    if (value.kind !== 'dictionary') throw this.refuse(`is ${told(value)}, not a dictionary`);
    return value.entries;
  }

  list(): Field[] {
    const value = this.#expect('a list');
    if (value.kind !== 'list') throw this.refuse(`is ${told(value)}, not a list`);
    return value.items.map((item, index) => new Field(`${this.name}[${index}]`, item));
  }

  bytes(): Buffer {
    const value = this.#expect('a string');
    if (value.kind !== 'bytes') throw this.refuse(`is ${told(value)}, not a string`);
    return value.value;
  }

  integer({ min, max }: { readonly min: number; readonly max: number }): number {
    const value = this.#expect('a number');
    if (value.kind !== 'integer') throw this.refuse(`is ${told(value)}, not a number`);
    if (value.value < min || value.value > max) {
      throw this.refuse(`is ${value.value}, not ${min} to ${max}`);
    }
    return value.value;
  }

  refuse(problem: string, code: TorrentErrorCode = 'Malformed'): TorrentError {
    return new TorrentError(code, this.name, problem);
  }

  #expect(what: string): Bencoded {
    if (this.#value === undefined) throw this.refuse(`is missing: ${what} belongs there`);
    return this.#value;
  }
}

function told(value: Bencoded): string {
  if (value.kind === 'integer') return `the number ${value.value}`;
  if (value.kind !== 'bytes') return `a ${value.kind}`;
  return `the string ${JSON.stringify(value.value.toString('latin1', 0, 32))}`;
}
