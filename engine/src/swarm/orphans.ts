import type { Bitfield } from '../pieces/bitfield.ts';

/** Whether some of these agents have a piece that none of these relays has. PURE. */
export function hasOrphans(relays: readonly Bitfield[], agents: readonly Bitfield[]): boolean {
  return agents.some(({ bytes }) =>
    bytes.some((held, at) => {
      let lacking = held;
      for (const relay of relays) lacking &= ~(relay.bytes[at] ?? 0);
      return lacking !== 0;
    }),
  );
}
