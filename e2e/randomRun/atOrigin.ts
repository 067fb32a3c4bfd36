/** What a random run has put at the origin, and how it spoils it for a while. */
import type { OriginHost } from '../origin/origin.ts';
import type { OriginTrouble, Version, WorldFile } from './steps.ts';

/** Everything; and how many answers are spoilt, at most. */
const ALL = '/';
const ANSWERS = 10_000;
const BEHAVIOURS = {
  cut: { cutConnections: true },
  fail: { statusSequence: Array<number>(ANSWERS).fill(503) },
  stall: { stallEveryMs: 1_000, stallForMs: 900 },
} as const;

export class AtOrigin {
  readonly #origin: OriginHost;
  /** Seeds by name: what is there is not written again, which would be another version of it. */
  readonly #put = new Map<string, string>();
  /** Hexadecimal SHA-256 by seed. */
  readonly #digests = new Map<string, string>();

  constructor(origin: OriginHost) {
    this.#origin = origin;
  }

  get url(): string {
    return this.#origin.url;
  }

  digestOf({ seed }: WorldFile): string {
    const digest = this.#digests.get(seed);
    if (digest === undefined) throw new Error(`${seed} was never put at the origin`);
    return digest;
  }

  /** What a step needs that applies it. */
  async put({ folder, files, kind, list }: Version): Promise<void> {
    for (const file of files) {
      const name = `${folder}/${file.path}`;
      if (this.#put.get(name) === file.seed) continue;
      const { sha256 } = await this.#origin.putFile(name, file);
      this.#put.set(name, file.seed);
      this.#digests.set(file.seed, sha256);
    }
    if (kind !== 'list') return;
    const lines = files.map((file) => `${this.digestOf(file)}  ${file.path}\n`);
    await this.#origin.writeFile(`${folder}/${list}`, lines.join(''));
  }

  /** Until the answer is called. */
  async spoil(how: OriginTrouble): Promise<() => Promise<void>> {
    await this.#origin.behave(ALL, BEHAVIOURS[how]);
    return () => this.#origin.behave(ALL, undefined);
  }
}
