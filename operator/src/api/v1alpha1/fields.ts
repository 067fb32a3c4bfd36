/**
 * Kinds of fields that both resources use, with the rules (CEL) that refuse a wrong value at
 * `kubectl apply` by a sentence naming the field, the value and the remedy.
 */
import { type SchemaOptions, Type } from '@sinclair/typebox';
import { DURATION_PATTERN, MAX_RATE, QUANTITY_PATTERN } from './quantity.ts';

/** A rule of `x-kubernetes-validations`; exactly one of message and messageExpression. */
export interface Rule {
  readonly rule: string;
  readonly message?: string;
  readonly messageExpression?: string;
}

/**
 * The message quotes the value as the user wrote it. `self` is a string; the API server cannot
 * bound the cost of string(self) where it need not.
 */
export function refuse(rule: string, field: string, remedy: string, self = 'self'): Rule {
  const literal = (text: string) => JSON.stringify(text);
  return {
    rule,
    messageExpression: `${literal(`${field}: '`)} + ${self} + ${literal(`' ${remedy}`)}`,
  };
}

export const MAX_PRIORITY = 100;

/** A DNS subdomain, as most names of objects are; without anchors. */
export const OBJECT_NAME = '[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*';

export function rules(...list: readonly Rule[]): { 'x-kubernetes-validations': readonly Rule[] } {
  return { 'x-kubernetes-validations': list };
}

function quantityRule(field: string, least: string, most: string, what: string): Rule {
  const value = 'string(self)';
  return refuse(
    `${value}.matches('^${QUANTITY_PATTERN}$') && quantity(${value}).compareTo(quantity('${least}')) >= 0 && quantity(${value}).compareTo(quantity('${most}')) <= 0`,
    field,
    `is not ${what} from ${least} to ${most}; write a whole number or a quantity such as 20Mi`,
    value,
  );
}

export function IntOrString(options: SchemaOptions) {
  return Type.Unsafe<string | number>({
    'x-kubernetes-int-or-string': true,
    maxLength: 24,
    ...options,
  });
}

/** Bytes per second. */
export function Rate(field: string, description: string) {
  const rule = quantityRule(field, '1', MAX_RATE, 'a rate in bytes per second');
  return IntOrString({ description, ...rules(rule) });
}

export function ByteCount(field: string, description: string) {
  const rule = quantityRule(field, '1', '4Pi', 'a number of bytes');
  return IntOrString({ description, ...rules(rule) });
}

/** Of a Distribution, among those that share an Origin. */
export function Priority(options: { readonly default: number; readonly description: string }) {
  return Type.Integer({ minimum: 0, maximum: MAX_PRIORITY, ...options });
}

export function Duration(field: string, least: string, most: string, options: SchemaOptions) {
  const rule = refuse(
    `self.matches('^${DURATION_PATTERN}$') && size(self) > 0 && duration(self) >= duration('${least}') && duration(self) <= duration('${most}')`,
    field,
    `is not a duration from ${least} to ${most}; write hours, minutes and seconds such as 720h or 1h30m`,
  );
  return Type.String({ maxLength: 24, ...rules(rule), ...options });
}

/** metav1.Condition, with reasons and messages bounded as Kubernetes bounds them. */
export const Condition = Type.Object({
  type: Type.String({ minLength: 1, maxLength: 316, description: 'Name of the condition.' }),
  status: Type.Union([Type.Literal('True'), Type.Literal('False'), Type.Literal('Unknown')], {
    description: 'Whether it is so.',
  }),
  observedGeneration: Type.Optional(
    Type.Integer({ minimum: 0, description: 'Of the spec that it is about.' }),
  ),
  lastTransitionTime: Type.String({
    format: 'date-time',
    maxLength: 64,
    description: 'Since when it has this status.',
  }),
  reason: Type.String({ minLength: 1, maxLength: 1024, description: 'Why, in one word.' }),
  message: Type.String({
    maxLength: 32_768,
    description: 'Why, for people; of a failure it ends with what to do.',
  }),
});

export const Conditions = Type.Array(Condition, {
  maxItems: 16,
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': ['type'],
  description: 'How it is, and why.',
});

export function observedGeneration() {
  return Type.Integer({
    default: -1,
    description:
      'metadata.generation of the spec that the status is about; -1 before the first look.',
  });
}
