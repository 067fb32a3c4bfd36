import { Readable } from 'node:stream';
import type { Report, ReportAnswer } from '../messages.ts';
import { ControlError } from './controlError.ts';

/** A control server that lives answers at once; one that is silent is found by its heartbeats. */
const ANSWER_MS = 15_000;

/**
 * Reports by a work stream: they go up as lines of its request, and what comes down by it answers
 * them. A connection of its own for each report would cost thousands of handshakes a minute.
 */
export class ReportStream {
  /** By sequence. */
  readonly #waiting = new Map<number, PromiseWithResolvers<ReportAnswer>>();
  #body: Readable | undefined;

  /** For a request; whoever is sent on to the leader asks again, with another one. */
  body(): Readable {
    const body = new Readable({ read: () => {} });
    // What breaks it breaks the answer, too, which tells.
    body.on('error', () => {});
    // The head of a request goes out with the first byte of its body: an empty line says nothing.
    body.push('\n');
    this.#body = body;
    return body;
  }

  /** Rejects with a ControlError, also when the stream ends before the answer. */
  async send(report: Report, signal: AbortSignal): Promise<ReportAnswer> {
    if (signal.aborted) throw abortedError();
    // One that takes long is not to be followed by others for which there is as little room.
    if ((this.#body?.readableLength ?? 0) > 0) {
      throw new ControlError('TimedOut', 'the report before is still on its way');
    }
    const answer = Promise.withResolvers<ReportAnswer>();
    const onAbort = () => answer.reject(abortedError());
    signal.addEventListener('abort', onAbort, { once: true });
    const late = new ControlError('TimedOut', 'the control server did not answer a report in time');
    const timer = setTimeout(() => answer.reject(late), ANSWER_MS);
    this.#waiting.set(report.sequence, answer);
    try {
      this.#body?.push(`${JSON.stringify(report)}\n`);
      return await answer.promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      this.#waiting.delete(report.sequence);
    }
  }

  /** Up to this one all are heard. */
  answered(sequence: number, answer: ReportAnswer): void {
    for (const [each, { resolve }] of this.#waiting) if (each <= sequence) resolve(answer);
  }

  /** Which one is not said: it could not be read. */
  refused(message: string): void {
    this.#fail(new ControlError('Refused', message, { status: 400 }));
  }

  end(): void {
    this.#body?.destroy();
    this.#fail(new ControlError('Unreachable', 'the work stream ended before the answer'));
  }

  #fail(error: ControlError): void {
    for (const { reject } of this.#waiting.values()) reject(error);
  }
}

function abortedError(): ControlError {
  return new ControlError('Aborted', 'the report was aborted');
}
