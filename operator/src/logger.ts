/** One JSON object a line on standard output; errors with code, message and causes. */
import { createLogger, format, type Logger, transports } from 'winston';

/** Message and code of an error and of what caused it; never its other fields. */
function errorFields(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = (error as { code?: unknown }).code;
  return {
    message: error.message,
    ...(code !== undefined && { code }),
    ...(error.cause !== undefined && { cause: errorFields(error.cause) }),
  };
}

const errors = format((entry) => {
  if (entry.error !== undefined) entry.error = errorFields(entry.error);
  return entry;
});

export function newLogger(level: string): Logger {
  return createLogger({
    level,
    format: format.combine(errors(), format.timestamp(), format.json()),
    transports: [new transports.Console()],
  });
}
