import { createLogger, format, type Logger, transports } from 'winston';

/** JSON lines on standard output: one fixed message a site, everything else in fields. */
export function processLogger(level: string): Logger {
  return createLogger({
    level,
    format: format.combine(format.timestamp(), format.json()),
    defaultMeta: { component: 'relay' },
    transports: [new transports.Console()],
  });
}

/** An error as fields; causes are named, stacks are left out. */
export function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { error: String(error) };
  const { code } = error as { code?: unknown };
  return {
    error: error.message,
    ...(code !== undefined && { code }),
    ...(error.cause !== undefined && { cause: errorFields(error.cause) }),
  };
}
