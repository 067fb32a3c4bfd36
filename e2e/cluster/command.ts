/** What the programs of this folder that a user calls have in common. */

/** Ctrl-C and SIGTERM end what runs; a second one ends this process at once. */
export function abortOnSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(name, () => controller.abort(new Error(`ended by ${name}`)));
  }
  return controller.signal;
}

/** Says what went wrong in one line for each error in the chain of causes. */
export function failWith(command: string, error: unknown): void {
  for (let reason = error; reason !== undefined; ) {
    console.error(`${command}: ${reason instanceof Error ? reason.message : String(reason)}`);
    reason = reason instanceof Error ? reason.cause : undefined;
  }
  process.exitCode = 1;
}
