/** What a process that was killed had on its disk and no other process. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { nodeFileSystem } from '@sluice/engine/adapters/file/nodeFileSystem.ts';
import { StateFile } from '@sluice/engine/adapters/file/stateFile.ts';

/** Pieces. `folders`: of the others; each process has only the one distribution on its disk. */
export async function heldAlone(
  folder: string,
  folders: readonly string[],
  pieceCount: number,
): Promise<number> {
  // The others go on: they are read first, so that nothing counts as lost that came meanwhile.
  const others = await Promise.all(folders.map((each) => piecesIn(each, pieceCount)));
  const own = await piecesIn(folder, pieceCount);
  for (const pieces of others) for (const piece of pieces) own.delete(piece);
  return own.size;
}

async function piecesIn(folder: string, pieceCount: number): Promise<Set<number>> {
  const names = await readdir(folder, { recursive: true });
  const states = await Promise.all(
    names
      .filter((name) => name.endsWith('.state'))
      .map((name) => StateFile.read(path.join(folder, name), pieceCount, nodeFileSystem)),
  );
  const pieces = new Set<number>();
  for (let piece = 0; piece < pieceCount; piece += 1) {
    if (states.some((state) => state.noted(piece) !== undefined)) pieces.add(piece);
  }
  return pieces;
}
