/**
 * Checks of messages at the edge: the schemas of messages.ts, compiled once per process.
 * Error texts are bounded and never repeat values, which may be secrets.
 */
import type { Static, TObject, TSchema, TUnion } from '@sinclair/typebox';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { LeaseAnswer, LeaseRequest } from './leaseMessages.ts';
import {
  ApiError,
  Report,
  ReportAnswer,
  SessionGrant,
  SessionRequest,
  WorkMessage,
} from './messages.ts';

/** Longest text about one message; a path in it may come from the sender. */
const MAX_MESSAGE_LENGTH = 300;

export class InvalidMessageError extends Error {
  readonly code = 'InvalidMessage';

  constructor(message: string) {
    super(
      message.length > MAX_MESSAGE_LENGTH ? `${message.slice(0, MAX_MESSAGE_LENGTH)}…` : message,
    );
    this.name = 'InvalidMessageError';
  }
}

/** Returns the value as what it is; throws InvalidMessageError. */
export type Parser<T> = (value: unknown) => T;

// The first error is enough: with all of them a hostile message would cost time per error.
const ajv = new Ajv({ allErrors: false, strict: true, strictTypes: false });

function parserOf<S extends TSchema>(what: string, schema: S): Parser<Static<S>> {
  const validate: ValidateFunction = ajv.compile(schema);
  return (value) => {
    if (validate(value)) return value as Static<S>;
    throw new InvalidMessageError(`${what}: ${describe(validate.errors?.[0])}`);
  };
}

/** A union told apart by a literal in `tag`: the error is about the member that was meant. */
function unionParserOf<S extends TUnion<TObject[]>>(
  what: string,
  schema: S,
  tag: string,
): Parser<Static<S>> {
  const members = new Map<unknown, Parser<unknown>>();
  for (const member of schema.anyOf) {
    const literal: unknown = member.properties[tag]?.const;
    members.set(literal, parserOf(`${what} ${String(literal)}`, member));
  }
  const known = [...members.keys()].join(', ');
  return (value) => {
    const name =
      typeof value === 'object' && value !== null
        ? (value as Record<string, unknown>)[tag]
        : undefined;
    const parse = members.get(name);
    if (parse === undefined) throw new InvalidMessageError(`${what}: ${tag} is none of ${known}`);
    return parse(value) as Static<S>;
  };
}

function describe(error: ErrorObject | undefined): string {
  if (error === undefined) return 'is not valid';
  const at = error.instancePath === '' ? '' : `${error.instancePath} `;
  const { additionalProperty } = error.params as { additionalProperty?: string };
  const which = additionalProperty === undefined ? '' : ` (${additionalProperty})`;
  return `${at}${error.message ?? 'is not valid'}${which}`;
}

export const parseSessionRequest = parserOf('session request', SessionRequest);
export const parseSessionGrant = parserOf('session grant', SessionGrant);
export const parseWorkMessage = unionParserOf('work message', WorkMessage, 'type');
export const parseReport = parserOf('report', Report);
export const parseReportAnswer = parserOf('answer to a report', ReportAnswer);
export const parseLeaseRequest = unionParserOf('lease request', LeaseRequest, 'op');
export const parseLeaseAnswer = unionParserOf('answer to a lease request', LeaseAnswer, 'outcome');
export const parseApiError = parserOf('error', ApiError);
