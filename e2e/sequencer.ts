/** The order of the end-to-end tests: those in `last/` judge, and then remove, what the others used. */
import path from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

export class LastOnesLast extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLast = ({ moduleId }: TestSpecification) =>
      path.basename(path.dirname(moduleId)) === 'last';
    const last = sorted.filter(isLast);
    last.sort((a, b) => (a.moduleId < b.moduleId ? -1 : 1));
    return [...sorted.filter((file) => !isLast(file)), ...last];
  }
}
