/** Writes what a benchmark measured to bench/results/, and says it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';
import path from 'node:path';
import { type Figure, figureLine } from './figures.ts';

export interface Result {
  /** Of the benchmark: the file in bench/ without its ending; of a part of it, as partName() says. */
  readonly name: string;
  /** What was measured, in a sentence or two. */
  readonly about: string;
  /** What repeats it, when more than its name is needed. */
  readonly command?: string;
  /** Every run, those that were left out included, with the reason. */
  readonly runs: readonly object[];
  readonly figures: readonly Figure[];
}

/** Returns whether every goal holds. */
export async function record(measured: Result): Promise<boolean> {
  const { name, about, runs, figures, command = `make bench NAME=${name}` } = measured;
  const holds = figures.every((figure) => figure.holds !== false);
  const result = { name, about, command, machine: machine(), holds, figures, runs };
  await writeResult(`${name}.json`, `${JSON.stringify(result, undefined, 2)}\n`);
  console.log(`\n${figures.map(figureLine).join('\n')}\n\nrecorded in bench/results/${name}.json`);
  return holds;
}

/** Under which name: a part of what there is leaves what was recorded of all as it is. */
export function partName(benchmark: string, part: string, all: string): string {
  return part === all ? benchmark : `${benchmark}-${part.replaceAll(',', '-')}`;
}

/** A file in bench/results/. */
export async function writeResult(name: string, content: string): Promise<void> {
  const folder = path.join(import.meta.dirname, '../results');
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, name), content);
}

function machine(): object {
  const processors = cpus();
  return {
    processors: processors.length,
    model: processors[0]?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    node: process.version,
  };
}
