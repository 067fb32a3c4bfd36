/** What a relay knows when a short node asks for any of the pieces that it accepts. */
export interface TopUpChoice {
  readonly pieceCount: number;
  /** How often each piece was sent by top-up. */
  readonly sent: ArrayLike<number>;
  holds(piece: number): boolean;
  /** Its bytes are coming in now and can be passed on as they come. */
  assembles(piece: number): boolean;
}

/**
 * The acceptable piece that was sent least, so that short nodes get different ones and can give
 * them to each other. Whole pieces before those that are still coming. The lowest of equals.
 *
 * @param acceptable a BitTorrent bitfield, high bit first; bits beyond its end are not set.
 */
export function chooseTopUp(acceptable: Uint8Array, choice: TopUpChoice): number | undefined {
  let best: { piece: number; whole: boolean; sent: number } | undefined;
  for (let piece = 0; piece < choice.pieceCount; piece += 1) {
    if (((acceptable[piece >> 3] ?? 0) & (128 >> (piece & 7))) === 0) continue;
    const whole = choice.holds(piece);
    if (!whole && !choice.assembles(piece)) continue;
    const sent = choice.sent[piece] ?? 0;
    const better =
      best === undefined || (whole === best.whole ? sent < best.sent : whole && !best.whole);
    if (better) best = { piece, whole, sent };
  }
  return best?.piece;
}
