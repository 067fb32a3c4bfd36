/** Numbers of nodes, absolute or as a share of those that match: `IntOrString`, as in Kubernetes. */
import { IntOrString, refuse, rules } from './fields.ts';

export type NodeCount = string | number;

/** `least`: 0 lets it be nothing, 1 does not. */
export function NodeCountField(
  field: string,
  least: 0 | 1,
  options: { readonly default: NodeCount; readonly description: string },
) {
  const first = least === 0 ? '[0-9]' : '[1-9]';
  const value = 'string(self)';
  const rule = refuse(
    `${value}.matches('^(${first}[0-9]{0,6}|100%|${first}[0-9]?%)$')`,
    field,
    `is not a number of nodes; write a whole number from ${least}, or a share from ${least}% to 100% such as "25%"`,
    value,
  );
  return IntOrString({ ...options, ...rules(rule) });
}

/**
 * Nodes of `total`; a share is rounded up, so that something goes on, or down, so that no more is
 * borne than was said. The CRD admits only what parses.
 */
export function nodesOf(count: NodeCount, total: number, rounding: 'up' | 'down'): number {
  const text = String(count);
  const number = Number.parseInt(text, 10);
  if (!text.endsWith('%')) return number;
  const share = (number * total) / 100;
  return rounding === 'up' ? Math.ceil(share) : Math.floor(share);
}
