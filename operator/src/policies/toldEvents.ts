/** When an event told of each reason last: a condition says what is so now, events only that it began. */
export type Told<Reason extends string> = Readonly<Partial<Record<Reason, number>>>;

const TELL_AGAIN_MS = 600_000;

/** Whether an event is due; `told` is to be kept then. Undefined: there is nothing to tell. */
export function tell<Reason extends string>(
  told: Told<Reason>,
  reason: Reason | undefined,
  nowMs: number,
): { readonly told: Told<Reason>; readonly isDue: boolean } {
  if (reason === undefined) return { told, isDue: false };
  const toldMs = told[reason];
  if (toldMs !== undefined && nowMs - toldMs < TELL_AGAIN_MS) return { told, isDue: false };
  return { told: { ...told, [reason]: nowMs }, isDue: true };
}
