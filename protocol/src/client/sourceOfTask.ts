import type { PullOptions } from '@sluice/engine/session/puller.ts';
import { fileUrlOf } from '../fileUrl.ts';
import type { Task, TaskMirror, TaskSource, Validator } from '../messages.ts';

export interface SourceOfTask {
  readonly options: PullOptions;
  /** Whether the host may mean an address of the cluster's own networks. */
  readonly allowsPrivateAddresses: boolean;
}

/**
 * How a task's origin is asked, or the mirror of this id. `files` in the order of the layout.
 * Undefined: the task names none, or no such mirror.
 */
export function sourceOf(
  task: Task,
  files: readonly { readonly path: string; readonly sizeBytes: number }[],
  mirror?: string,
): SourceOfTask | undefined {
  const { source, pieceLengthBytes } = task;
  const place = mirror === undefined ? source : source?.mirrors?.find(({ id }) => id === mirror);
  if (source === undefined || place === undefined) return undefined;
  const { url, headers, allowPrivateAddresses = false } = place;
  const validators = validatorsAt(place, task);
  const originFiles = files.map(({ path, sizeBytes }) => ({
    url: fileUrlOf(url, path),
    sizeBytes,
    validator: validators.get(path) ?? {},
  }));
  return {
    options: { files: originFiles, headers, ranges: source.ranges, pieceLengthBytes },
    allowsPrivateAddresses: allowPrivateAddresses,
  };
}

function validatorsAt(place: TaskSource | TaskMirror, { files }: Task): Map<string, Validator> {
  if ('files' in place) return new Map(place.files.map(({ path, validator }) => [path, validator]));
  return new Map(files.map(({ path }, at) => [path, place.validators[at] ?? {}]));
}

/** What a holder of this task can be given leases for, besides the source. */
export function mirrorsOf({ source }: Task): string[] {
  return source?.mirrors?.map(({ id }) => id) ?? [];
}
