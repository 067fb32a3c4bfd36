/** `NodeSelector` of core/v1 with expressions over labels, bounded. */
import { type Static, Type } from '@sinclair/typebox';
import { refuse, rules } from './fields.ts';

const FIELD = 'spec.target.affinity.nodeSelectorTerms.matchExpressions';
const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt'] as const;

const Expression = Type.Object(
  {
    key: Type.String({ minLength: 1, maxLength: 316, description: 'Of a label of the node.' }),
    operator: Type.Union(
      OPERATORS.map((operator) => Type.Literal(operator)),
      {
        description:
          'How the label and values compare. NotIn and DoesNotExist hold for a node without the label; Gt and Lt compare whole numbers.',
      },
    ),
    values: Type.Optional(
      Type.Array(Type.String({ maxLength: 63 }), {
        maxItems: 64,
        'x-kubernetes-list-type': 'atomic',
        description:
          'At least one for In and NotIn, one whole number for Gt and Lt, none for Exists and DoesNotExist.',
      }),
    ),
  },
  rules(
    refuse(
      "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
      FIELD,
      'has no values for its operator; name at least one value in values',
      'self.operator',
    ),
    refuse(
      "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
      FIELD,
      'takes no values; leave values out, or use In or NotIn',
      'self.operator',
    ),
    refuse(
      "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && size(self.values) == 1 && self.values[0].matches('^-?[0-9]{1,18}$'))",
      FIELD,
      'compares with one whole number; write it in values, in quotes',
      'self.operator',
    ),
  ),
);

const Term = Type.Object({
  matchExpressions: Type.Array(Expression, {
    minItems: 1,
    maxItems: 16,
    'x-kubernetes-list-type': 'atomic',
    description: 'All of them hold for a node that matches.',
  }),
});

export const NodeAffinity = Type.Object(
  {
    nodeSelectorTerms: Type.Array(Term, {
      minItems: 1,
      maxItems: 16,
      'x-kubernetes-list-type': 'atomic',
      description: 'A node matches when one of them does.',
    }),
  },
  {
    description:
      'Which nodes get the file, beyond nodeSelector: terms of node affinity as pods have them. Absent: all that nodeSelector matches.',
  },
);
export type NodeAffinity = Static<typeof NodeAffinity>;
