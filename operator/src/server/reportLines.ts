/** The reports that come up by a work stream: lines of its request, for as long as it is open. */
import type { Readable } from 'node:stream';
import { LineSplitter } from '@sluice/protocol/lines.ts';
import type { Report } from '@sluice/protocol/messages.ts';
import { InvalidMessageError, parseReport } from '@sluice/protocol/validate.ts';

export interface ReportListener {
  report(report: Report): void;
  /** A line that is no report; the next one counts. */
  refused(why: string): void;
  /** Nothing is heard any more: of what follows nobody can tell where a report begins. */
  failed(error: unknown): void;
}

/** Fails on a line above the bound, and on what `report` throws: here nobody else would catch it. */
export function readReports(request: Readable, maxBytes: number, listener: ReportListener): void {
  const splitter = new LineSplitter(maxBytes);
  const read = (chunk: Buffer) => {
    try {
      for (const line of splitter.push(chunk)) {
        const report = reportIn(line);
        if (typeof report === 'string') listener.refused(report);
        else listener.report(report);
      }
    } catch (error) {
      request.off('data', read);
      listener.failed(error);
    }
  };
  request.on('data', read);
  // That it is over the answer tells, which is closed with it.
  request.on('error', () => {});
}

/** A text: why it is none. */
function reportIn(line: string): Report | string {
  try {
    return parseReport(JSON.parse(line));
  } catch (error) {
    return error instanceof InvalidMessageError ? error.message : 'report: it is not JSON';
  }
}
