/** Shows how a long part goes: which part, how far, how long so far. */

const LINE_EVERY_MS = 10_000;

export class Progress {
  private readonly part: string;
  private readonly log: ((line: string) => void) | undefined;
  private readonly startedAt = performance.now();
  private readonly ticker: NodeJS.Timeout;
  private readonly inPlace: boolean;
  private text = '';

  /** Without `log`: to the terminal, in one line that is rewritten, or in plain lines. */
  constructor(part: string, log?: (line: string) => void) {
    this.part = part;
    this.log = log;
    this.inPlace = log === undefined && process.stdout.isTTY === true;
    this.ticker = setInterval(() => this.show(), this.inPlace ? 500 : LINE_EVERY_MS);
    this.ticker.unref();
    this.show();
  }

  update(text: string): void {
    this.text = text;
  }

  done(text: string): void {
    clearInterval(this.ticker);
    this.text = text;
    this.show();
    if (this.inPlace) process.stdout.write('\n');
  }

  /** Ends it without a last line: what went wrong is told by the error. */
  stop(): void {
    clearInterval(this.ticker);
    if (this.inPlace) process.stdout.write('\n');
  }

  private show(): void {
    const seconds = Math.round((performance.now() - this.startedAt) / 1000);
    const line = `${this.part}: ${this.text || 'started'} (${formatSeconds(seconds)})`;
    if (this.inPlace) process.stdout.write(`\r\x1b[K${line.slice(0, process.stdout.columns - 1)}`);
    else (this.log ?? console.log)(line);
  }
}

function formatSeconds(seconds: number): string {
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
