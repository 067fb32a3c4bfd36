import { encodeHashAnswer, type HashRange } from '../wire/hashMessages.ts';
import type { SeededRandom } from './seededRandom.ts';

/** Of BEP 52, and where it stands in a message. */
const HASH_REQUEST_ID = 21;
const ID_AT = 4;

/** As ordinary clients ask for hashes; we never do. */
export function encodeHashRequest(range: HashRange): Buffer {
  const message = encodeHashAnswer(range, undefined);
  message[ID_AT] = HASH_REQUEST_ID;
  return message;
}

export function someHashRequest(random: SeededRandom): Buffer {
  return encodeHashRequest({
    root: random.bytes(32),
    baseLayer: random.below(10),
    index: random.below(64),
    length: 2 ** random.below(10),
    proofLayers: random.below(10),
  });
}
