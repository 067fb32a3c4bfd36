import type { Bitfield } from '../pieces/bitfield.ts';

/** Whether some of these agents have a piece that none of these relays has. PURE. */
export function hasOrphans(relays: readonly Bitfield[], agents: readonly Bitfield[]): boolean {
  const held = new Uint8Array(agents[0]?.bytes.byteLength ?? 0);
  for (const { bytes } of relays) {
    for (let at = 0; at < held.length; at += 1) held[at] = (held[at] ?? 0) | (bytes[at] ?? 0);
  }
  return agents.some(({ bytes }) => {
    for (let at = 0; at < held.length; at += 1) {
      if (((bytes[at] ?? 0) & ~(held[at] ?? 0)) !== 0) return true;
    }
    return false;
  });
}
