/** Values as JSON, gzipped: what nobody asks the database for one by one takes a tenth so. */
import { promisify } from 'node:util';
import { constants, gunzip, gzip } from 'node:zlib';
import { Binary } from 'mongodb';

const compress = promisify(gzip);
const decompress = promisify(gunzip);

export async function pack(value: unknown): Promise<Binary> {
  return new Binary(await compress(JSON.stringify(value), { level: constants.Z_BEST_SPEED }));
}

/** Rejects what is damaged, or longer than so many bytes. */
export async function unpack(packed: Binary, maxBytes: number): Promise<unknown> {
  const json = await decompress(packed.buffer, { maxOutputLength: maxBytes });
  return JSON.parse(json.toString());
}
