/** What a relay knows when a short node asks for any of the pieces that it accepts. */
export interface TopUpChoice {
  readonly pieceCount: number;
  /** How often each piece was sent by top-up. */
  readonly sent: ArrayLike<number>;
  holds(piece: number): boolean;
  /** Its bytes are coming in now and can be passed on as they come. */
  assembles(piece: number): boolean;
  /** 0 to 1. */
  random(): number;
}

/**
 * A node may ask two relays at once, and should not be sent the same piece by both; nor should it
 * get a file in no order at all, since its digest follows what is there from the beginning.
 */
const EQUALS = 8;

/**
 * The acceptable piece that was sent least, so that short nodes get different ones and can give
 * them to each other. Whole pieces before those that are still coming. Any of the first of equals.
 *
 * @param acceptable a BitTorrent bitfield, high bit first; bits beyond its end are not set.
 */
export function chooseTopUp(acceptable: Uint8Array, choice: TopUpChoice): number | undefined {
  let best = { whole: false, sent: Number.POSITIVE_INFINITY };
  let equals: number[] = [];
  for (let piece = 0; piece < choice.pieceCount; piece += 1) {
    if (((acceptable[piece >> 3] ?? 0) & (128 >> (piece & 7))) === 0) continue;
    const whole = choice.holds(piece);
    if (!whole && !choice.assembles(piece)) continue;
    const sent = choice.sent[piece] ?? 0;
    if (whole === best.whole ? sent < best.sent : whole) {
      best = { whole, sent };
      equals = [];
    }
    const isEqual = whole === best.whole && sent === best.sent;
    if (isEqual && equals.length < EQUALS) equals.push(piece);
  }
  return equals[Math.floor(choice.random() * equals.length)];
}
