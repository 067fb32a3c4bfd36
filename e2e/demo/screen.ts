/** Draws a picture over the one before on a terminal, and plain lines elsewhere. */
import type { Snapshot } from './delivery.ts';
import { MIN_WIDTH, picture, plainLine } from './picture.ts';

const PLAIN_EVERY_SECONDS = 5;

export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly isTerminal: boolean;
  readonly colour: boolean;
  #drawn = 0;
  #plainAt = Number.NEGATIVE_INFINITY;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    this.isTerminal = out.isTTY === true;
    this.colour = this.isTerminal && !process.env.NO_COLOR;
  }

  show(snapshot: Snapshot): void {
    const width = this.#out.columns ?? 80;
    // Where lines would wrap, going back to the first one does not work.
    if (!this.isTerminal || width < MIN_WIDTH) {
      if (snapshot.elapsedSeconds - this.#plainAt < PLAIN_EVERY_SECONDS) return;
      this.#plainAt = snapshot.elapsedSeconds;
      this.line(plainLine(snapshot));
      return;
    }
    const lines = picture(snapshot, { width, colour: this.colour });
    const back = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : '';
    this.#out.write(back + lines.map((line) => `\x1b[2K${line}\n`).join(''));
    this.#drawn = lines.length;
  }

  line(text: string): void {
    this.#drawn = 0;
    this.#out.write(`${text}\n`);
  }

  paint(text: string, ok: boolean): string {
    return this.colour ? `\x1b[${ok ? 32 : 31}m${text}\x1b[0m` : text;
  }
}
