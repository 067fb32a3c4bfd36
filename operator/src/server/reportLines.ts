/** The reports that come up by a work stream: lines of its request, for as long as it is open. */
import type { Readable } from 'node:stream';
import { LineSplitter } from '@sluice/protocol/lines.ts';
import type { Report } from '@sluice/protocol/messages.ts';
import { InvalidMessageError, parseReport } from '@sluice/protocol/validate.ts';

export interface ReportListener {
  report(report: Report): void;
  /** A line that is no report. */
  refused(why: string): void;
}

/** A line above the bound ends the request, with its connection: what follows cannot be told apart. */
export function readReports(request: Readable, maxBytes: number, listener: ReportListener): void {
  const splitter = new LineSplitter(maxBytes);
  // That it is over the answer tells, which is closed with it.
  request.on('error', () => {});
  request.on('data', (chunk: Buffer) => {
    const lines = linesIn(splitter, chunk);
    if (lines === undefined) request.destroy();
    for (const line of lines ?? []) {
      const read = reportIn(line);
      if (typeof read === 'string') listener.refused(read);
      else listener.report(read);
    }
  });
}

function linesIn(splitter: LineSplitter, chunk: Buffer): string[] | undefined {
  try {
    return splitter.push(chunk);
  } catch {
    return undefined;
  }
}

/** A text: why it is none. */
function reportIn(line: string): Report | string {
  try {
    return parseReport(JSON.parse(line));
  } catch (error) {
    return error instanceof InvalidMessageError ? error.message : 'report: it is not JSON';
  }
}
