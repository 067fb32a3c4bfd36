import type { PullOptions } from '@sluice/engine/session/puller.ts';
import { fileUrlOf } from '../fileUrl.ts';
import type { Task } from '../messages.ts';

export interface SourceOfTask {
  readonly options: PullOptions;
  /** Whether the host may mean an address of the cluster's own networks. */
  readonly allowsPrivateAddresses: boolean;
}

/** How a task's origin is asked. `files` in the order of the layout. */
export function sourceOf(
  { source, pieceLengthBytes }: Task,
  files: readonly { readonly path: string; readonly sizeBytes: number }[],
): SourceOfTask | undefined {
  if (source === undefined) return undefined;
  const { headers, ranges, allowPrivateAddresses = false } = source;
  const validators = new Map(source.files.map(({ path, validator }) => [path, validator]));
  const originFiles = files.map(({ path, sizeBytes }) => ({
    url: fileUrlOf(source.url, path),
    sizeBytes,
    validator: validators.get(path) ?? {},
  }));
  return {
    options: { files: originFiles, headers, ranges, pieceLengthBytes },
    allowsPrivateAddresses: allowPrivateAddresses,
  };
}
