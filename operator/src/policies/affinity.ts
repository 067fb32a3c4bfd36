/** Node affinity as in core/v1: a node matches when all expressions of any term do. PURE. */
import type { NodeAffinity } from '../api/v1alpha1/affinity.ts';

type Expression = NodeAffinity['nodeSelectorTerms'][number]['matchExpressions'][number];
type Labels = Readonly<Record<string, string>>;

/** Absent: every node matches. */
export function matchesAffinity(labels: Labels, affinity: NodeAffinity | undefined): boolean {
  if (affinity === undefined) return true;
  return affinity.nodeSelectorTerms.some(({ matchExpressions }) =>
    matchExpressions.every((expression) => matches(labels, expression)),
  );
}

function matches(labels: Labels, { key, operator, values = [] }: Expression): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
      return compared(value, values[0], (a, b) => a > b);
    case 'Lt':
      return compared(value, values[0], (a, b) => a < b);
  }
}

/** A label that is no whole number is neither greater nor less than one. */
function compared(
  value: string | undefined,
  bound: string | undefined,
  holds: (value: bigint, bound: bigint) => boolean,
): boolean {
  const isNumber = (text: string | undefined): text is string => /^-?[0-9]+$/.test(text ?? '');
  return isNumber(value) && isNumber(bound) && holds(BigInt(value), BigInt(bound));
}
