import { inUnits } from '@sluice/engine/adapters/file/diskSpace.ts';

export class NamespaceShareError extends Error {
  readonly code = 'NamespaceShareExceeded';

  constructor(message: string) {
    super(message);
    this.name = 'NamespaceShareError';
  }
}

export interface NamespaceDemand {
  readonly namespace: string;
  /** Of all its versions on the node but this one. */
  readonly usedBytes: number;
  readonly neededBytes: number;
}

/** Throws when the namespace would have more on the node than it may. */
export function checkShare(
  { namespace, usedBytes, neededBytes }: NamespaceDemand,
  shareBytes: number,
): void {
  if (neededBytes === 0 || usedBytes + neededBytes <= shareBytes) return;
  throw new NamespaceShareError(
    `versions of the namespace '${namespace}' have ${inUnits(usedBytes)} of this disk, of ` +
      `${inUnits(shareBytes)} that they may have; the files need ${inUnits(neededBytes)}`,
  );
}
