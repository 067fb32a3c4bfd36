/**
 * Asks origins what sources are, beside the reconciliation: one that does not answer keeps nobody
 * waiting but who wants something of it. What is answered waits here for the reconciliation, which
 * alone decides what follows.
 */
import type { ResolvedSource } from '../dataSide.ts';

export interface Question {
  /** Names the source: an answer about another one is none. */
  readonly source: string;
  /** With its port. */
  readonly host: string;
  ask(signal: AbortSignal): Promise<ResolvedSource>;
}

export type Answer = { readonly found: ResolvedSource } | { readonly error: unknown };

/** Those who want something of one host. */
interface Line {
  readonly waiting: Set<Asked>;
  asking: number;
}

interface Asked {
  readonly key: string;
  readonly question: Question;
  readonly dropped: AbortController;
  answer?: Answer;
}

/**
 * At one host. Each takes a connection under the limits of its Origin, and who finds no room there
 * for 15 s begins again: more at once would bring no answer sooner. Who waits for room keeps it from
 * those who pull: beside 32 at once a pull had a third of what it has beside 8.
 */
const MAX_AT_HOST = 8;
/** A socket and some kilobytes each. A host that hangs has 8 of them, so 32 must hang at once. */
const MAX_AT_ALL = 256;

export class Asking {
  /** By key: of each the one question that counts. */
  readonly #asked = new Map<string, Asked>();
  readonly #lines = new Map<string, Line>();
  readonly #running = new Set<Promise<void>>();
  readonly #answered: (key: string) => void;
  #isStopped = false;

  constructor(answered: (key: string) => void) {
    this.#answered = answered;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const key of [...this.#asked.keys()]) this.drop(key);
    await Promise.all(this.#running);
  }

  /** What it asks already goes on if it is of the same source, and is given up else. */
  begin(key: string, question: Question): void {
    if (this.#isStopped || this.isAsking(key, question.source)) return;
    this.drop(key);
    const asked: Asked = { key, question, dropped: new AbortController() };
    this.#asked.set(key, asked);
    this.#lineOf(question.host).waiting.add(asked);
    this.#pump();
  }

  /** Whether it is asked, or waits for its turn, or has an answer that nobody has taken. */
  isAsking(key: string, source: string): boolean {
    return this.#asked.get(key)?.question.source === source;
  }

  /** What came of this source, once. Of another one nothing is wanted any more. */
  take(key: string, source: string): Answer | undefined {
    if (!this.isAsking(key, source)) this.drop(key);
    const answer = this.#asked.get(key)?.answer;
    if (answer !== undefined) this.#asked.delete(key);
    return answer;
  }

  /** Nobody wants to know any more. */
  drop(key: string): void {
    const asked = this.#asked.get(key);
    if (asked === undefined) return;
    this.#asked.delete(key);
    this.#lines.get(asked.question.host)?.waiting.delete(asked);
    asked.dropped.abort(new Error('nobody wants to know any more'));
    this.#tidy(asked.question.host);
  }

  #lineOf(host: string): Line {
    let line = this.#lines.get(host);
    if (line === undefined) {
      line = { waiting: new Set(), asking: 0 };
      this.#lines.set(host, line);
    }
    return line;
  }

  #tidy(host: string): void {
    const line = this.#lines.get(host);
    if (line?.asking === 0 && line.waiting.size === 0) this.#lines.delete(host);
  }

  #pump(): void {
    while (this.#running.size < MAX_AT_ALL) {
      const line = nextLine(this.#lines.values());
      const [asked] = line?.waiting ?? [];
      if (line === undefined || asked === undefined) return;
      line.waiting.delete(asked);
      this.#ask(line, asked);
    }
  }

  #ask(line: Line, asked: Asked): void {
    const { key, question, dropped } = asked;
    line.asking += 1;
    const running = question
      .ask(dropped.signal)
      .then(
        (found): Answer => ({ found }),
        (error: unknown): Answer => ({ error }),
      )
      .then((answer) => {
        line.asking -= 1;
        this.#running.delete(running);
        this.#tidy(question.host);
        asked.answer = answer;
        if (!dropped.signal.aborted) this.#answered(key);
        this.#pump();
      });
    this.#running.add(running);
  }
}

/** The host that is asked least now: a new one does not wait behind those that hang. */
function nextLine(lines: Iterable<Line>): Line | undefined {
  let next: Line | undefined;
  for (const line of lines) {
    if (line.waiting.size === 0 || line.asking >= MAX_AT_HOST) continue;
    if (next === undefined || line.asking < next.asking) next = line;
  }
  return next;
}
